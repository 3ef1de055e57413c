"""Messages speak of options."""

from __future__ import annotations

import pytest

from promptlab.cli.main import main
from promptlab.cli.wording import in_options


@pytest.mark.parametrize(
    ("command", "message", "expected"),
    [
        ("fit", "max_steps=5 has no use; leave it out.", "--max-steps 5 has no use; leave it out."),
        ("fit", "choose tuning='lora'.", "choose --tuning lora."),
        ("fit", "pass eval_set (--dev on the command line).", "pass --dev."),
        ("fit", "use HeadClassifier (--head).", "use --head."),
        ("fit", "a single token, or a MultiTokenVerbalizer.", "a single token, or --answers strings."),
        ("fit", "name the right one by label= (None for no labels).", "name the right one by --label."),
        ("fit", "name its column by columns={'text_a': …} or", "name its column by --column text_a=COLUMN or"),
        ("fit", "say it by encoding= and delimiter=", "say it by --encoding and --delimiter"),
        ("fit", "such as delimiter=';', or", "such as --delimiter ';', or"),
        ("fit", "quoting='csv' or quoting='none'.", "--quoting csv or --quoting none."),
        ("fit", "gradient_checkpointing=True can't", "--gradient-checkpointing can't"),
        ("fit", "tuning=LoRA(rank=4)", "tuning=LoRA(rank=4)"),
        ("sample", "k=9 needs 18; lower k, or pass dev=False.", "-k 9 needs 18; lower k, or pass --no-dev."),
        ("search-template", "or pass generator= (--generator) with", "or pass --generator with"),
        ("fit", "trains nothing; call fit with another, such as", "trains nothing; choose another --tuning, such as"),
        ("predict", "a folder that save_pretrained wrote.", "a folder that promptlab fit, ensemble or distill wrote."),
        ("list", "pass label='x'", "pass label='x'"),  # no option of this command
    ],
)
def test_arguments_become_options_of_the_command(command, message, expected):
    assert in_options(message, main.get_command(None, command)) == expected


def test_without_a_command_a_message_stays():
    assert in_options("max_steps=5", None) == "max_steps=5"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-k", 3), "-k 3 needs 6 for train and dev; lower k, add rows, or pass --no-dev."),
        (("-k", 5, "--no-dev"), "-k 5 needs 5 for train; lower k or add rows."),
    ],
)
def test_sample_says_how_to_do_with_too_few_rows(run, table, tmp_path, options, message):
    path = table("rows.tsv", [(f"text {i}", "ab"[i % 2]) for i in range(8)])

    result = run("sample", path, "-o", tmp_path / "shots", *options)

    assert result.exit_code == 1
    assert result.stderr == f"DataError: class 'a' has 4 rows, but {message}\n"


def test_sample_draws_no_dev_set_if_none_is_wanted(run, table, tmp_path):
    path = table("rows.tsv", [(f"text {i}", "ab"[i % 2]) for i in range(8)])

    result = run("sample", path, "-o", tmp_path / "shots", "-k", 4, "--no-dev")

    assert result.output == f"8 training examples in {tmp_path / 'shots'}\n"
    assert [file.name for file in (tmp_path / "shots").iterdir()] == ["train.tsv"]
