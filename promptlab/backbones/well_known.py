"""Names without an organisation that tutorials use for models of the hub."""

from __future__ import annotations

from collections.abc import Mapping

_OWNERS: Mapping[str, str] = {
    "FacebookAI": "roberta-base roberta-large xlm-roberta-base xlm-roberta-large",
    "albert": "albert-base-v1 albert-base-v2 albert-large-v1 albert-large-v2 albert-xlarge-v2 albert-xxlarge-v2",
    "distilbert": (
        "distilbert-base-cased distilbert-base-uncased distilbert-base-multilingual-cased "
        "distilbert-base-german-cased distilroberta-base distilgpt2"
    ),
    "google-bert": (
        "bert-base-cased bert-base-chinese bert-base-german-cased bert-base-multilingual-cased "
        "bert-base-multilingual-uncased bert-base-uncased bert-large-cased bert-large-uncased"
    ),
    "google-t5": "t5-small t5-base t5-large t5-3b t5-11b",
    "openai-community": "gpt2 gpt2-medium gpt2-large gpt2-xl",
}
WELL_KNOWN: Mapping[str, str] = {name: f"{owner}/{name}" for owner, names in _OWNERS.items() for name in names.split()}
