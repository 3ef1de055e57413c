"""Soft prompts that have learned from unlabeled text before they see the few labeled examples.

Source: PPT, arXiv:2109.04332, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from promptlab.core.checks import check_seed
from promptlab.core.errors import DataError, TuningError, UnknownNameError
from promptlab.core.inputs import ModelLike, TemplateLike, VerbalizerLike
from promptlab.data.corpus import LETTERS, Document, choice_examples, pair_examples, sentence_examples
from promptlab.estimators.class_scorer import ClassScorer
from promptlab.estimators.classifiers import PromptClassifier
from promptlab.tuning.prompt_tuning import PromptTuning

N_DEV = 0.1  # share of the examples that the prompt is selected on


class Format(NamedTuple):
    """A self-supervised task: its usual template and label words."""

    template: str
    label_words: Mapping[str, Sequence[str]]


FORMATS: Mapping[str, Format | None] = {
    "pair": Format(
        "{{ text_a }} {{ mask }} {{ text_b }}", {"next": ["yes"], "same document": ["maybe"], "other": ["no"]}
    ),
    "choice": Format(
        "{{ text_a }} ? " + " ".join(f"{letter}. {{{{ {letter.lower()} }}}}" for letter in LETTERS)
        + " The correct one is {{ mask }}.",
        {letter: [letter] for letter in LETTERS},
    ),
    "sentence": None,  # what the labeller's classes ask for
}  # fmt: skip


def pretrain_prompt(
    documents: Sequence[Document],
    *,
    format: str = "pair",
    model: ModelLike | None = None,
    tuning: PromptTuning | None = None,
    n_examples: int = 3000,
    template: TemplateLike | None = None,
    verbalizer: VerbalizerLike | None = None,
    labeller: ClassScorer | None = None,
    confidence: float | None = None,
    seed: int = 0,
    **training: Any,
) -> PromptClassifier:
    """Tune a soft prompt of a frozen model on examples made from unlabeled text.

    ``save_prompt`` of what comes back writes the prompt; ``PromptTuning(start=path)`` goes on from it. The layout
    (where the mask stands) and the label words should be those of the task that it is for.

    Source: PPT, arXiv:2109.04332, section 3.

    Args:
        documents: texts, each a list of sentences.
        format: ``"pair"`` (does the second sentence stand beside the first?), ``"choice"`` (which of six does?) or
            ``"sentence"`` (what does ``labeller`` say of it?).
        model: a package's name, a hub id, a folder or a loaded backbone; None takes ``minilm``.
        tuning: the prompt's length and start; None for ``PromptTuning()``.
        n_examples: number of examples made from the documents, a tenth of them to select the prompt on.
        template: another template than the format's; the field names are its own.
        verbalizer: label words for the format's classes; needed for ``"sentence"``, and so is a template.
        labeller: a classifier, zero-shot or fitted, whose confident labels are learned.
        confidence: probability of a label above which it counts; see ``sentence_examples``.
        seed: seed of everything that is drawn.
        training: settings of ``PromptClassifier``.

    Returns:
        A fitted classifier, whose soft tokens are the prompt.

    Raises:
        UnknownNameError: if there is no such format.
        DataError: if the text doesn't yield enough examples.

    Example:
        >>> from promptlab import pretrain_prompt, read_documents
        >>> from promptlab.data.samples import write_demo_data
        >>> _ = write_demo_data(".")  # reviews.txt is among it
        >>> prompt = pretrain_prompt(read_documents("reviews.txt"), model="minilm", n_examples=60, max_steps=2)
        >>> prompt.save_prompt("prompt.safetensors")  # which PromptTuning(start="prompt.safetensors") goes on from
        >>> prompt.trainable_parameters()  # 20 soft tokens of width 384
        7680
    """
    if format not in FORMATS:
        raise UnknownNameError("format", format, FORMATS)
    check_seed(seed, TuningError)
    if n_examples < 30:
        raise DataError(f"n_examples={n_examples} is too few to learn from; take at least 30, usually thousands.")
    usual = FORMATS[format]
    if usual is None:
        if labeller is None or template is None or verbalizer is None:
            raise TuningError("format 'sentence' needs a labeller, and a template and label words for its classes.")
        examples = sentence_examples(documents, n_examples, labeller=labeller, seed=seed, confidence=confidence)
    else:
        make = pair_examples if format == "pair" else choice_examples
        examples = make(documents, n_examples, seed=seed)
        template, verbalizer = template or usual.template, verbalizer or usual.label_words
    n_dev = max(1, round(N_DEV * len(examples)))
    classifier = PromptClassifier(template, verbalizer, model, tuning or PromptTuning(), seed=seed, **training)
    return classifier.fit(examples[n_dev:], eval_set=(examples[:n_dev], None))
