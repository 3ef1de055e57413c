"""YAML and JSON of strangers: what little text can mean, and what isn't what it looks like."""

from __future__ import annotations

import time

import pytest

from promptlab.cli.arguments import parse_verbalizer, value_of
from promptlab.core import json_loader, yaml_loader
from promptlab.core.errors import DataError, PromptlabError, TuningError, VerbalizerError
from promptlab.estimators.saving import read_settings
from promptlab.library import tasks
from promptlab.library.pvps import find_pvp, read_pvps
from promptlab.library.resolve import resolve_template, resolve_verbalizer

NINE = ",".join(["{}"] * 9)
LAUGHS = "a0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n" + "".join(
    f"a{i}: &a{i} [{NINE.format(*[f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{NINE.format(*[f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 9)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 400))
GOOD = 'template: "{{ text_a }} {{ mask }}"'

YAML = {
    LAUGHS: "aliases (*) stand for more than",
    LAUGHS + f"pvps: [{{{GOOD}, verbalizer: sst2, origin: {{x: *a8}}}}]": "aliases (*) stand for more than",
    LAUGHS + "pvps: *a8": "aliases (*) stand for more than",
    MERGES: "aliases (*) stand for more than",
    CHAIN: "aliases (*) stand for more than",
    "a: &a '" + "x" * 100_000 + "'\nb: [" + "*a," * 1_000 + "]": "aliases (*) stand for more than",
    "origin: &o {x: *o}": "*o stands inside itself (line 1)",
    "&o [1, [2, *o]]": "*o stands inside itself",
    "pvps: " + "[" * 3_000: "more than 50 levels",
    "pvps: " + "{a: " * 3_000: "more than 50 levels",
    "- " * 3_000 + "x": "more than 50 levels",
    "a: 1\norigin: {d: 2026-99-99}": "'2026-99-99' is no timestamp; put it in quotes (line 2)",
    "pvps: !!int x": "'x' is no int; put it in quotes (line 1)",
    "pvps: !!float x": "'x' is no float",
    "pvps: !!bool x": "'x' is no bool",
    "pvps: !!timestamp x": "'x' is no timestamp",
    "pvps: " + "9" * 5_000: "is too long for a number (line 1)",
    "pvps: 1" + ":30" * 90_000: "is too long for a number",
    "pvps: 0x" + "f" * 90_000: "is too long for a number",
    "{no: [bad], yes: [good]}": "the key 'no' is read as bool, not as text; put it in quotes (line 1)",
    "{1:30: [bad]}": "the key '1:30' is read as int, not as text",
    "{null: [bad]}": "the key 'null' is read as null, not as text",
    "{~: [bad]}": "the key '~' is read as null",
    "{010: [bad]}": "the key '010' is read as int",
    "{1_0: [bad]}": "the key '1_0' is read as int",
    "{1.0: [bad]}": "the key '1.0' is read as float",
    "{2026-11-30: [bad]}": "the key '2026-11-30' is read as timestamp",
    "? [a]\n: b": "is read as seq, not as text",
    "a: 1\nb: {x: 1, y: 2, x: 3}": "the key 'x' stands twice (line 2)",
    "{1: [bad], '1': [good]}": "the key '1' stands twice",
    "!!python/object/apply:os.system ['touch PWNED']": "could not determine a constructor",
    "!!python/name:os.system": "could not determine a constructor",
    '"\\ud800"': "half of a character",
    '"\\UFFFFFFFF"': "too large",
    "a: b: c": "mapping values are not allowed here (line 1)",
    "\0": "special characters are not allowed",
    "*x": "found undefined alias",
    "--- a\n--- b": "another document",
    "x" * 3_000_000: "more than 2,000,000",
}


@pytest.mark.parametrize(("text", "message"), YAML.items(), ids=range(len(YAML)))
def test_yaml_that_means_harm_or_something_else_is_one_line(text, message, tmp_path):
    path = tmp_path / "pairs.yaml"
    path.write_bytes(text.encode())
    start = time.process_time()

    with pytest.raises(DataError) as caught:
        read_pvps(path)

    assert time.process_time() - start < 1
    assert message in str(caught.value)
    assert len(str(caught.value)) <= 500
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{bad: [terrible], good: [great]}", {"bad": ["terrible"], "good": ["great"]}),
        ("{0: [a], 1: [b], -2: [c]}", {0: ["a"], 1: ["b"], -2: ["c"]}),
        ("{true: [a], false: [b]}", {True: ["a"], False: ["b"]}),
        ("{'no': [a], 'yes': [b]}", {"no": ["a"], "yes": ["b"]}),
        ("a: &a [x, y]\nb: *a\nc: [*a, *a]", {"a": ["x", "y"], "b": ["x", "y"], "c": [["x", "y"], ["x", "y"]]}),
        ("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}", {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}),
        ("{seed: 13, rate: 1.5, none: null, on: [no, 1:30]}".replace("on:", "when:"), {
            "seed": 13, "rate": 1.5, "none": None, "when": [False, 90],
        }),
        ("", None),
        ("中文: [好]", {"中文": ["好"]}),
    ],
)  # fmt: skip
def test_ordinary_yaml_is_read_as_ever(text, value):
    assert yaml_loader.load(text) == value


def test_a_thousand_pairs_are_read():
    rows = "".join(f"- {{name: p{i}, {GOOD}, verbalizer: {{bad: [b], good: [g]}}}}\n" for i in range(1_000))

    assert len(yaml_loader.load("pvps:\n" + rows)["pvps"]) == 1_000


JSON = {
    '{"a":' * 100_000: "more than 50 levels deep",
    '{"a":' * 60 + "1" + "}" * 60: "more than 50 levels deep",
    "[" * 60 + "]" * 60: "more than 50 levels deep",
    '{"a": ["x"], "a": ["y"]}': "the key 'a' stands twice",
    '{"a": {"b": 1, "b": 2}}': "the key 'b' stands twice",
    '{"a": NaN}': "NaN is no number of JSON",
    '{"a": -Infinity}': "-Infinity is no number of JSON",
    '{"a": ' + "9" * 5_000 + "}": "Exceeds the limit",
    '{"a": [': "Expecting value",
}


@pytest.mark.parametrize(("text", "message"), JSON.items(), ids=range(len(JSON)))
@pytest.mark.parametrize("read", [parse_verbalizer, value_of])
def test_json_on_the_command_line_is_bounded(read, text, message):
    with pytest.raises((VerbalizerError, TuningError)) as caught:
        read(text)

    assert message in str(caught.value)
    assert len(str(caught.value)) <= 500


@pytest.mark.parametrize("text", JSON, ids=range(len(JSON)))
def test_json_of_a_saved_classifier_is_bounded(text, tmp_path):
    (tmp_path / "promptlab.json").write_text(text)

    with pytest.raises(PromptlabError, match="is damaged"):
        read_settings(tmp_path)


def test_json_fifty_levels_deep_is_read():
    assert json_loader.load("[" * 50 + "1" + "]" * 50)
    with pytest.raises(ValueError, match="more than 50 levels"):
        json_loader.load("[" * 51 + "1" + "]" * 51)


def test_a_setting_that_is_no_json_is_text():
    assert [value_of(text) for text in ("top", "1:2", "3", "0.5", "true", '{"a": 1}')] == [
        "top", "1:2", 3, 0.5, True, {"a": 1},
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5_000, "a\0b", "a\0b#c", "x" * 300 + "#y"])
@pytest.mark.parametrize("read", [find_pvp, read_pvps])
def test_a_name_that_no_file_can_have_is_one_line(read, name):
    with pytest.raises(DataError) as caught:
        read(name)

    assert len(str(caught.value)) <= 500
    assert str(caught.value).isprintable()


def test_a_device_without_an_end_is_not_read_to_it():
    with pytest.raises(DataError, match="more than 20,000,000 characters"):
        read_pvps("/dev/zero")


def test_settings_of_an_entry_are_names():
    with pytest.raises(VerbalizerError, match="keywords must be strings"):
        resolve_verbalizer({"label_words": {"a": ["b"], "c": ["d"]}, 5: "x"})
    with pytest.raises(PromptlabError, match="keywords must be strings"):
        resolve_template({"kind": "manual", "source": "{{ mask }}", 5: "x"})


def test_words_of_the_library_that_yaml_takes_for_something_else_are_refused(tmp_path, monkeypatch):
    for folder in ("templates", "verbalizers"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "odd.yaml").write_text(
            "verbalizers: {words: {source: me, label_words: {'no': [no], 'yes': ['yes']}}}"
        )
    monkeypatch.setattr(tasks, "library_folder", lambda kind: tmp_path / kind)
    tasks._file_entries.cache_clear()

    with pytest.raises(
        VerbalizerError, match=r"has the word False for class 'no', which isn't a text; put it in quotes"
    ):
        tasks.verbalizer_entry("odd")
    tasks._file_entries.cache_clear()
