from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from promptlab.backbones.catalog import load_backbone, locate
from promptlab.core.types import Prompt, Segment

pytestmark = pytest.mark.minilm


@pytest.fixture(scope="module")
def minilm():
    return load_backbone("minilm")


REFERENCE = json.loads(
    (Path(__file__).parents[2] / "models/minilm/src/promptlab_minilm/model/reference.json").read_text()
)


def test_the_package_carries_its_reference():
    assert json.loads((Path(locate("minilm")) / "reference.json").read_text()) == REFERENCE


@pytest.mark.parametrize("case", REFERENCE, ids=lambda case: case["text"][:30])
@torch.no_grad()
def test_minilm_agrees_with_the_logits_stored_beside_its_weights(minilm, case):
    before, after = case["text"].split("[MASK]")
    prompt = Prompt((Segment("text", before), Segment("mask"), Segment("text", after)))

    encoded = minilm.encode([prompt], soft_ids={})[0]
    logits = minilm.mask_states(minilm.collate([encoded])).logits()[0, 0]

    assert encoded.input_ids.tolist() == case["input_ids"]
    assert encoded.mask_index.tolist() == [case["mask_index"]]
    best = logits.log_softmax(dim=-1).topk(5)
    assert minilm.tokenizer.convert_ids_to_tokens(best.indices.tolist()) == [word for word, _ in case["top5"]]
    assert best.values.tolist() == pytest.approx([value for _, value in case["top5"]], abs=1e-3)
    for word, value in case["label_logits"].items():
        assert logits[minilm.token_ids(word)[0]].item() == pytest.approx(value, abs=1e-3)
