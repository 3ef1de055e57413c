"""Chinese, end to end: a character vocabulary, label words of two characters, a file in FewCLUE's format."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from promptlab.cli.main import main
from promptlab.core.seeding import seeded

# after the sentences of FewCLUE's eprstmt
REVIEWS = [
    ("包装很高档，物流很快，非常好", "Positive"),
    ("性价比很不错，棒棒哒", "Positive"),
    ("正品，充电很快，好用", "Positive"),
    ("音质很好，值得买", "Positive"),
    ("没用几天就坏了，太差了", "Negative"),
    ("充电慢，做工差，别买", "Negative"),
    ("耳机音质很差，亏大了", "Negative"),
    ("话筒声小，破耳机，差评", "Negative"),
]
ANSWERS = {"Negative": ["失望", "糟糕"], "Positive": ["满意", "喜欢"]}


@pytest.fixture(scope="module")
def chinese_bert(tmp_path_factory):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    text = (
        "".join(review for review, _ in REVIEWS) + "".join(ANSWERS["Negative"] + ANSWERS["Positive"]) + "我觉得很。！"
    )
    vocabulary = {piece: i for i, piece in enumerate([*special, *sorted(set(text))])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()  # puts spaces around Chinese characters
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"], special))
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
    )
    folder = tmp_path_factory.mktemp("chinese") / "bert"
    with seeded(0):
        BertForMaskedLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names).save_pretrained(folder)
    return folder


@pytest.fixture
def reviews(tmp_path):
    path = tmp_path / "train.jsonl"
    rows = [{"id": i, "sentence": text, "label": label} for i, (text, label) in enumerate(REVIEWS)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def run(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize(
    "verbalizer",
    [("eprstmt/two-characters",), (json.dumps(ANSWERS, ensure_ascii=False), "--answers", "strings")],
    ids=["library", "json"],
)
def test_a_chinese_classifier_learns_two_character_answers_and_comes_back_from_disk(
    chinese_bert, reviews, tmp_path, verbalizer
):
    columns = ("--column", "text_a=sentence")

    run(
        "fit", reviews, "-o", tmp_path / "out", *columns, "--model", chinese_bert, "--device", "cpu",
        "--template", "{{ text_a }}我觉得很{{ mask }}。", "--verbalizer", *verbalizer,
        "--max-steps", 60, "--learning-rate", 3e-3,
    )  # fmt: skip
    rows = [json.loads(line) for line in run("predict", tmp_path / "out", reviews, *columns, "--json").splitlines()]

    assert [row["label"] for row in rows] == [label for _, label in REVIEWS]


@torch.no_grad()
def test_a_two_character_answer_takes_two_masks(chinese_bert):
    from promptlab import MultiTokenVerbalizer, load_backbone
    from promptlab.core.types import Example
    from promptlab.models.prompt_model import PromptModel
    from promptlab.templates.manual import ManualTemplate
    from promptlab.tuning.none import NoTuning

    template = ManualTemplate("{{ text_a }}我觉得很{{ mask }}。")
    model = PromptModel.build(template, MultiTokenVerbalizer(ANSWERS), load_backbone(str(chinese_bert)), NoTuning())

    (row,) = model.encode([Example({"text_a": "好"})])

    assert model.backbone.tokenizer.decode(row.input_ids) == "[CLS] 好 我 觉 得 很 [MASK] [MASK] 。 [SEP]"
