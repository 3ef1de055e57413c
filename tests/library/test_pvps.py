"""Pairs come back from their file as they were."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptlab import PVP, ManualTemplate
from promptlab.core.errors import DataError, UnknownNameError
from promptlab.library.pvps import find_pvp, read_pvps, write_pvps


def test_pairs_come_back_from_their_file(tmp_path):
    pvps = [
        PVP(
            "{{ text_a }} Es war {{ mask }}.", {"gut": ("schön", "toll"), "1": ("öde",)}, "a", {"seed": 13, "dev": 0.5}
        ),
        PVP("sst2/it-was", "sst2", "b"),
    ]

    write_pvps(tmp_path / "pvps.yaml", pvps)

    first, second = read_pvps(tmp_path / "pvps.yaml")
    assert first == PVP(pvps[0].template, {"gut": ["schön", "toll"], "1": ["öde"]}, "a", {"seed": 13, "dev": 0.5})
    assert second == pvps[1]


@pytest.mark.parametrize(
    "sign", ["\x85", "\u2028", "\u2029", "\ufeff", "\r", "\t", "\xa0", "\n\n", "\U0001f600", "\0", "'\""]
)
def test_every_sign_comes_back_as_it_was(tmp_path, sign):
    text = f"{sign} a{sign}b {{{{ mask }}}} {sign}"
    pvp = PVP(text, {text: [text, "ö"]}, f"a{sign}", {text: text})

    write_pvps(tmp_path / "pvps.yaml", [pvp])

    assert read_pvps(tmp_path / "pvps.yaml") == [pvp]
    assert "ö" in (tmp_path / "pvps.yaml").read_text(encoding="utf-8")


@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_template_comes_back_as_it_was(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"

    write_pvps(path, [PVP(text, {"p": [text]}, "a", {"note": text})])

    assert read_pvps(path) == [PVP(text, {"p": [text]}, "a", {"note": text})]


def test_what_a_file_cannot_keep_is_refused(tmp_path):
    with pytest.raises(DataError, match="pair 'x' holds objects"):
        write_pvps(tmp_path / "pvps.yaml", [PVP(ManualTemplate("{{ text_a }} {{ mask }}"), "sst2", "x")])

    assert not (tmp_path / "pvps.yaml").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pvps: []", "holds no list 'pvps'"),
        ("[1, 2", "can't be read"),
        ("pvps: [{template: x}]", "entry 1 of .* give it a template and a verbalizer"),
        ("pvps: [{template: x, verbalizer: y, wieght: 1}]", "entry 1 of .* has 'wieght'"),
        ("pvps: [{template: x, verbalizer: y, 1: 2, wieght: 1}]", "entry 1 of .* has 1; known: name, origin"),
        ("pvps: [{template: x, verbalizer: y, origin: by hand}]", "entry 1 of .* has origin 'by hand'; give names"),
        ("pvps: [{template: x, verbalizer: y, origin: [1, 2]}]", r"entry 1 of .* has origin \[1, 2\]; give names"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, text, message):
    (tmp_path / "pvps.yaml").write_text(text)

    with pytest.raises(DataError, match=message):
        read_pvps(tmp_path / "pvps.yaml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no file '.*none\.yaml'; check the path"):
        read_pvps(tmp_path / "none.yaml")


@pytest.mark.parametrize("name", ["pvps.yaml", "odd#name.yaml"])
def test_a_pair_is_found_by_name_and_the_first_without_one(tmp_path, name):
    pvps = [PVP("sst2/it-was", "sst2", "a"), PVP("sst2/just", "sst2", "b")]
    write_pvps(tmp_path / name, pvps)

    assert find_pvp(f"{tmp_path / name}") == pvps[0]
    assert find_pvp(f"{tmp_path / name}#b") == pvps[1]
    with pytest.raises(UnknownNameError, match=r"unknown pair of '.*yaml' 'c'.* Known: a, b"):
        find_pvp(f"{tmp_path / name}#c")


def test_a_missing_file_of_pairs_is_named_without_the_pair(tmp_path):
    with pytest.raises(DataError, match=r"no file '.*none\.yaml'; check the path"):
        find_pvp(f"{tmp_path / 'none.yaml'}#a")
