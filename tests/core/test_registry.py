from __future__ import annotations

import inspect
import re

import pytest

from promptlab import ManualTemplate
from promptlab.core import registry
from promptlab.core.entries import Entry
from promptlab.core.errors import PluginError, SavedModelError
from promptlab.core.interfaces import Template

REGISTRIES = [value for value in vars(registry).values() if isinstance(value, registry.Registry)]
ENTRIES = [(table, name) for table in REGISTRIES for name in table.shipped]
PAPERS = r"arXiv:\d{4}\.\d{5}"


class Own(Template):
    fields = ("text_a",)
    slot = render = None


def ids(value):
    return value.table if isinstance(value, registry.Registry) else value


@pytest.mark.parametrize(("table", "name"), ENTRIES, ids=ids)
def test_a_shipped_part_is_where_its_entry_says_and_told_in_a_line_of_its_own(table, name):
    entry = table.shipped[name]
    others = [other.description for key, other in table.shipped.items() if key != name]

    assert entry.load().__module__ == entry.module
    assert re.fullmatch(r"\S.*[^.\s]", entry.description) and "\n" not in entry.about
    assert entry.description not in others


@pytest.mark.parametrize(("table", "name"), [pair for pair in ENTRIES if pair[0] is not registry.BACKBONES], ids=ids)
def test_an_entrys_papers_are_those_of_the_docstring(table, name):
    entry = table.shipped[name]
    said = inspect.getdoc(entry.load()) or ""

    assert set(re.findall(PAPERS, entry.source)) <= set(re.findall(PAPERS, said))
    assert bool(entry.source) or not re.search(rf"(?m)^Source:.*{PAPERS}", said)


def test_an_entry_is_told_with_its_source_if_it_has_one():
    assert Entry("a:B", "what it is", "A paper").about == "what it is (A paper)"
    assert Entry("a:B", "what it is").about == "what it is"


def test_a_registered_part_is_known_by_its_name(monkeypatch):
    table = registry.PartRegistry("template kind", "TABLE", registry.TEMPLATES.shipped)
    table.register("mine", f"{__name__}:Own", "my own", "a thought")

    assert "mine" in table.names
    assert table.descriptions["mine"] == "my own (a thought)"
    assert table.added == {"mine": Entry(f"{__name__}:Own", "my own", "a thought")}
    assert table.name_of(Own()) == "mine" and table.name_of(ManualTemplate("{{ mask }}")) == "manual"


def test_names_that_promptlab_has_cannot_be_registered():
    with pytest.raises(PluginError, match="template kind 'manual' is given by promptlab; register 'a:B' under another"):
        registry.TEMPLATES.register("manual", "a:B")


def test_a_part_that_is_not_registered_is_told_how_to_be():
    with pytest.raises(SavedModelError, match=r"registry\.TEMPLATES\.register\('mine', '.*test_registry:Own'\)"):
        registry.TEMPLATES.to_dict(Own())
