"""Errors that name the value, the expectation and the remedy. Every one is a ``PromptlabError``."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from promptlab.core.messages import listed, one_line
from promptlab.core.messages import short_repr as short_repr


class Message(BaseException):
    """Tell an error or a warning in one line that a terminal shows as it is."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class PromptlabError(Message, Exception):
    """Report something that the user can fix; the command line prints it as one line and exits with 1.

    Example:
        >>> from promptlab import PromptlabError, load_sample
        >>> try:
        ...     load_sample("sst-2")
        ... except PromptlabError as error:  # of whichever kind
        ...     print(error)
        unknown data sample 'sst-2'; did you mean 'sst2'? Known: ag_news, sst2, trec.
    """


class TemplateError(PromptlabError):
    """Report a template that can't be read, rendered or fitted into the model.

    Example:
        >>> from promptlab import Example, ManualTemplate, TemplateError
        >>> try:
        ...     ManualTemplate("{{ text_a }} It was great.").render(Example({"text_a": "A gem."}))
        ... except TemplateError as error:
        ...     print(error)
        template '{{ text_a }} It was great.' has no mask; put {{ mask }} where the label word goes.
    """


class VerbalizerError(PromptlabError):
    """Report label words or classes that don't fit the model or the data.

    Example:
        >>> from promptlab import ManualVerbalizer, VerbalizerError
        >>> try:
        ...     ManualVerbalizer({"positive": ["great", "good"]})
        ... except VerbalizerError as error:
        ...     print(error)
        label words are given for 1 class(es); a classifier needs at least 2.
    """


class DataError(PromptlabError):
    """Report a file, column, row or label that isn't as expected.

    Example:
        >>> from promptlab import DataError, k_shot
        >>> try:
        ...     k_shot(["yes", "no", "yes", "no"], k=4, seed=13)
        ... except DataError as error:
        ...     print(error)
        class 'no' has 2 rows, but k=4 needs 8 for train and dev; lower k, add rows, or pass dev=False.
    """


class BackboneError(PromptlabError):
    """Report a model that is missing, unreadable or of a family that isn't supported.

    Example:
        >>> from promptlab import BackboneError, load_backbone
        >>> try:
        ...     load_backbone("./models/bert")
        ... except BackboneError as error:
        ...     print(error)
        model folder './models/bert' doesn't exist; check the path.
    """


class TuningError(PromptlabError):
    """Report a tuning or training setting that can't work.

    Example:
        >>> from promptlab import LoRA, TuningError
        >>> try:
        ...     LoRA(rank=0)
        ... except TuningError as error:
        ...     print(error)
        rank=0 must be from 1 to 10,000, usually 8.
    """


class SavedModelError(PromptlabError):
    """Report a saved model that is missing, damaged or made by a newer version.

    Example:
        >>> from promptlab import PromptClassifier, SavedModelError
        >>> try:
        ...     PromptClassifier.from_pretrained("./my-classifier")
        ... except SavedModelError as error:
        ...     print(error)
        'my-classifier' holds no promptlab.json; give a folder that save_pretrained wrote.
    """


class SearchError(PromptlabError):
    """Report a search that can't begin, or that finds nothing.

    Example:
        >>> from promptlab import HeuristicSearch, SearchError
        >>> try:
        ...     HeuristicSearch(keep=0)
        ... except SearchError as error:
        ...     print(error)
        keep=0 must be at least 1, usually 64.
    """


class JobError(PromptlabError):
    """Report independent work that failed; what was finished before is kept.

    Example:
        >>> from promptlab import JobError, PVPEnsemble
        >>> ensemble = PVPEnsemble([("sst2", "sst2")], "minilm", workers=4)
        >>> try:
        ...     ensemble.fit(["a dull film", "great fun"], ["negative", "positive"])
        ... except JobError as error:
        ...     print(error)
        workers=4 has no use with executor 'serial'; choose 'joblib' or 'ray', or leave it out.
    """


class PluginError(PromptlabError):
    """Report a part of another package, or of your own, that can't be used under its name.

    Example:
        >>> from promptlab import PluginError
        >>> from promptlab.core.registry import TUNINGS
        >>> try:
        ...     TUNINGS.register("lora", "my_package.lora:MyLoRA")
        ... except PluginError as error:
        ...     print(error)
        tuning 'lora' is given by promptlab; register 'my_package.lora:MyLoRA' under another name.
    """


class UnsupportedError(PromptlabError):
    """Report something that an estimator can't do; the command line exits with 2, as it does for any wrong use.

    Example:
        >>> from promptlab import Example, TokenClassifier, UnsupportedError
        >>> try:
        ...     TokenClassifier("minilm").table_rows([Example({"text_a": "Ada lives in Rome."})])
        ... except UnsupportedError as error:
        ...     print(error)
        a TokenClassifier doesn't predict rows of a table of texts; use it in Python.
    """


class UnknownNameError(PromptlabError):
    """Report a name that isn't in its registry or library, with the nearest that is.

    Args:
        kind (str): what the name should have been.
        name (object): the name that was given.
        known (Iterable[str]): the names that are known.
        where (str, default ''): the place in which it stands, such as ``"row 3"``.
        whose (str, default ''): what the known names are, where ``kind`` doesn't say so.
        more (str, default ''): what else a name may be, one sentence.

    Example:
        >>> from promptlab import PromptClassifier, UnknownNameError
        >>> try:
        ...     PromptClassifier("sst2", "sst2", "minilm", tuning="lroa").fit(["dull", "fun"], ["negative", "positive"])
        ... except UnknownNameError as error:
        ...     print(error)
        unknown tuning 'lroa'; did you mean 'lora'? Known: adapter, bitfit, ...
    """

    def __init__(
        self, kind: str, name: object, known: Iterable[str], *, where: str = "", whose: str = "", more: str = ""
    ) -> None:
        names = sorted(known)
        hint = _hint(name if isinstance(name, str) else short_repr(name), names)
        place, owner = f" in {where}" if where else "", f" ({whose})" if whose else ""
        end = f" {more}" if more else ""
        super().__init__(f"unknown {kind} {short_repr(name)}{place}{hint} Known{owner}: {listed(names)}.{end}")


def _hint(name: str, names: list[str]) -> str:
    """The beginning of a correction, if a known name is close; long texts are compared with none."""
    close = [other for other in names if f"{other}.0" == name]
    if not close and len(name) <= 100:
        close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else "."


class PromptlabWarning(Message, UserWarning):
    """Say what the user should know though the work goes on; the command line prints it as one line.

    Example:
        >>> import warnings
        >>> from promptlab import PromptClassifier, PromptlabWarning
        >>> classifier = PromptClassifier("{{ text_a }} {{ mask }}!", {"bad": "not good", "good": "good"}, "minilm")
        >>> with warnings.catch_warnings(record=True, category=PromptlabWarning, action="always") as caught:
        ...     _ = classifier.predict(["a gem"])
        >>> print(caught[0].message)
        label word 'not good' of class 'bad' is 2 tokens (not good) for minilm, so that all words are scored as ...
    """


@contextmanager
def error_context(who: str) -> Iterator[None]:
    """Say in every error whose it is."""
    try:
        yield
    except PromptlabError as error:
        error.args = (f"{who}: {error}",)
        raise
