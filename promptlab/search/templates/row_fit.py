"""Which templates the model and every example can take."""

from __future__ import annotations

from collections.abc import Sequence

from promptlab.core.errors import SearchError, TemplateError, VerbalizerError
from promptlab.core.types import Example, Prompt
from promptlab.search.templates.task import FoundTemplate, SearchTask
from promptlab.templates.manual import ManualTemplate
from promptlab.verbalizers.label_words import label_word_ids


def fitting_prompts(source: str, examples: Sequence[Example], task: SearchTask) -> tuple[Prompt, ...]:
    """What a template makes of examples.

    Raises:
        TemplateError: if it doesn't fit the model or one of the examples.
        VerbalizerError: if the label words don't fit the model there.
    """
    template = ManualTemplate(source)
    label_word_ids(task.label_words, task.backbone, template.slot)
    prompts = tuple(template.render(example) for example in examples)
    task.backbone.encode(prompts, soft_ids={}, max_length=task.max_length)
    return prompts


def usable(found: Sequence[FoundTemplate], task: SearchTask) -> tuple[list[FoundTemplate], dict[str, str]]:
    """Templates that fit all examples of train and dev, and why the others don't, by template.

    An engine looks at some examples only; one odd text shouldn't end a search in its ranking.

    Raises:
        SearchError: if there are none, or none is left.
    """
    if not found:
        raise SearchError("no template was found; give the engine more examples or candidates.")
    kept: list[FoundTemplate] = []
    reasons: dict[str, str] = {}
    for one in found:
        try:
            fitting_prompts(one.template, [*task.train, *task.dev], task)
        except (TemplateError, VerbalizerError) as error:
            reasons[one.template] = str(error)
        else:
            kept.append(one)
    if not kept:
        raise SearchError(f"none of {len(found)} templates fits all examples: {next(iter(reasons.values()))}")
    return kept, reasons
