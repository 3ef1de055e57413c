"""Label words as people write them, of one token or of several."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from promptlab.core.errors import PromptlabWarning
from promptlab.core.interfaces import Backbone, Verbalizer
from promptlab.core.types import AnswerSlot
from promptlab.verbalizers.manual import ManualVerbalizer
from promptlab.verbalizers.strings import MultiTokenVerbalizer


@dataclass(frozen=True)
class WordsVerbalizer(ManualVerbalizer):
    """Score classes by their words, of one token or of several: what class → words means where no kind is chosen.

    If every word is one token for the model, and the template has one mask, they are label words
    (``ManualVerbalizer``). Else all are scored as whole answers (``MultiTokenVerbalizer``), with a warning. An answer
    counts by its probability, the product over its tokens, and a class by the mean of its answers', so that neither a
    number of words nor one word that is hard to say decides. A class that has long answers only is rarer before
    training; training or calibration (``ContextualCalibration``, ``PMICalibration``) fixes that. Divided by their
    length, long answers gain instead, since their later tokens are easily guessed: measured on SST-2, more was lost
    than won.

    Args:
        aggregate: how the words of a class count together: ``"mean-logit"`` (for whole answers ``"mean-prob"``),
            ``"max-logit"``, ``"mean-prob"`` or ``"sum-prob"``.

    Example:
        >>> from promptlab import PromptClassifier, WordsVerbalizer
        >>> words = WordsVerbalizer({"negative": ["bad", "dull"], "positive": "great"})
        >>> classifier = PromptClassifier("{{ text_a }} It was {{ mask }}.", words, "minilm")
        >>> classifier.predict(["a dull film", "great fun"])  # (texts,)
        array(['negative', 'positive'], dtype='<U8')
    """

    def suited(self, backbone: Backbone, slot: AnswerSlot) -> Verbalizer:
        reason = next(self._reasons(backbone, slot), None)
        if reason is None:
            return ManualVerbalizer(self.label_words, self.aggregate)
        aggregate = "mean-prob" if self.aggregate == "mean-logit" else self.aggregate
        answers = MultiTokenVerbalizer(self.label_words, aggregate)
        answers.build(backbone, slot)  # what can't be an answer either is refused before anything is said
        warnings.warn(
            f"{reason}, so that all words are scored as whole answers; without training, calibrate them, or long ones "
            "are hardly ever chosen.",
            PromptlabWarning,
            stacklevel=2,
        )
        return answers

    def _reasons(self, backbone: Backbone, slot: AnswerSlot) -> Iterator[str]:
        """Why the words can't be read at one mask."""
        if slot.n_masks != 1:
            yield f"the template has {slot.n_masks} masks"
        for name, words in self.label_words.items():
            for word in words:
                ids = backbone.answer_ids(word, slot)
                if len(ids) > 1:
                    pieces = " ".join(backbone.tokenizer.convert_ids_to_tokens(ids))
                    known = backbone.name or "this model"
                    yield f"label word {word!r} of class {name!r} is {len(ids)} tokens ({pieces}) for {known}"
