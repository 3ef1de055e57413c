from __future__ import annotations

import importlib
import sys

import pytest

from promptlab.core import plugins
from promptlab.core.entries import Entry
from promptlab.core.errors import PluginError, SavedModelError, UnknownNameError
from promptlab.core.identity import digest
from promptlab.core.part_help import help_of
from promptlab.core.registry import FILTERS, TEMPLATES, TUNINGS, VERBALIZERS, check_brought
from promptlab.templates.rendering import filter_names
from promptlab.tuning.full import Full

SHOUT = "def shout(text):\n    '''Shout.'''\n    return text.upper()\n"
TUNING = "from promptlab.tuning.full import Full\nclass Fuller(Full):\n    pass\n"


@pytest.fixture
def distribute(tmp_path, monkeypatch):
    """Installs a package with these entry points, its modules beside it."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def install(name, group, points, version="1.0", **modules):
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir(exist_ok=True)
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: ours\n"
        (folder / "METADATA").write_text(about, encoding="utf-8")
        lines = [f"{point} = {place}" for point, place in points.items()]
        with (folder / "entry_points.txt").open("a", encoding="utf-8") as file:
            file.write("\n".join([f"[promptlab.{group}]", *lines, ""]))
        for module, source in modules.items():
            (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
        forget()

    yield install
    for module in set(sys.modules) - before:
        if str(getattr(sys.modules[module], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[module]
    monkeypatch.undo()
    forget()


def forget():
    importlib.invalidate_caches()
    for cached in (plugins.plugins, plugins.package_of, plugins._packages):
        cached.cache_clear()


def test_a_packages_part_is_found_by_its_name_and_told_without_an_import(distribute):
    distribute("loud", "filters", {"shout": "loud_text:shout"}, loud_text=SHOUT)

    assert "shout" in FILTERS.names and "shout" not in FILTERS.added
    assert FILTERS.descriptions["shout"] == "ours (package loud==1.0)"
    assert "loud_text" not in sys.modules
    assert FILTERS.get("shout")("ah") == "AH"
    assert (help_of(FILTERS, "shout").description, help_of(FILTERS, "shout").package) == ("Shout.", "loud==1.0")


def test_a_name_that_promptlab_has_names_the_package_that_gives_it_too(distribute):
    distribute("loud", "tunings", {"lora": "loud_tuning:Fuller"}, loud_tuning=TUNING)

    assert TUNINGS.get("full") is Full
    assert "package loud==1.0" in TUNINGS.descriptions["lora"]
    with pytest.raises(PluginError, match=r"tuning 'lora' is given by promptlab and by the package loud 1\.0; uninst"):
        TUNINGS.get("lora")


def test_a_name_that_two_packages_give_names_both(distribute):
    distribute("loud", "filters", {"shout": "loud_text:shout", "call": "loud_text:shout"}, loud_text=SHOUT)
    distribute("louder", "filters", {"shout": "louder_text:shout"}, louder_text=SHOUT)

    assert FILTERS.get("call")("ah") == "AH"
    with pytest.raises(PluginError) as caught:
        FILTERS.get("shout")
    assert "the package loud 1.0" in str(caught.value) and "the package louder 1.0" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing_of_this_name", r"can't be imported \(ModuleNotFoundError: No module named 'nothing_of_this"),
        ("raise ValueError('two\\nlines')", r"can't be imported \(ValueError: two\);"),
        ("other = 1", r"can't be imported \(AttributeError: "),
        ("Own = 3", "is no class derived from promptlab.core.interfaces.Tuning;"),
        ("def Own(): pass", "is no class derived from promptlab.core.interfaces.Tuning;"),
        ("class Own: pass", "is no class derived from promptlab.core.interfaces.Tuning;"),
    ],
)
def test_a_package_that_does_not_work_is_told_in_one_line_when_it_is_used(distribute, source, message):
    distribute("broken", "tunings", {"own": "broken_tuning:Own"}, broken_tuning=source)

    assert "own" in TUNINGS.names and TUNINGS.get("full") is Full
    who = r"tuning 'own', broken_tuning:Own of the package broken 1\.0,"
    with pytest.raises(PluginError, match=f"{who} {message}") as caught:
        TUNINGS.get("own")
    assert "\n" not in str(caught.value)


def test_a_filter_that_is_no_function_is_told(distribute):
    distribute("broken", "filters", {"own": "broken_filter:own"}, broken_filter="own = 3")

    with pytest.raises(PluginError, match="is 3, neither a class nor a function"):
        FILTERS.get("own")


def test_a_filter_that_jinja_has_is_refused_where_it_is_used(distribute):
    distribute("loud", "filters", {"title": "loud_text:shout"}, loud_text=SHOUT)

    assert filter_names("{{ text_a | upper }}") == ("upper",)
    with pytest.raises(PluginError, match=r"filter 'title' is given by Jinja and by the package loud 1\.0; remove"):
        filter_names("{{ text_a | title }} now")


def test_a_part_that_was_registered_and_installed_is_its_packages(distribute, monkeypatch):
    distribute("loud", "tunings", {"fuller": "loud_tuning:Fuller"}, loud_tuning=TUNING)
    monkeypatch.setitem(TUNINGS.entries, "fuller", Entry("loud_tuning:Fuller"))

    assert TUNINGS.entry("fuller").package == "loud==1.0"


def test_a_name_that_a_package_gives_cannot_be_registered_for_something_else(distribute):
    distribute("loud", "tunings", {"fuller": "loud_tuning:Fuller"}, loud_tuning=TUNING)

    with pytest.raises(PluginError, match=r"tuning 'fuller' is given by the package loud 1\.0; register 'a:B' under"):
        TUNINGS.register("fuller", "a:B")


def test_a_class_that_another_module_of_its_package_gives_is_saved_under_its_name(distribute):
    distribute("loud", "tunings", {"fuller": "loud_api:Fuller"}, loud_api="from loud_tuning import Fuller\n")
    distribute("loud", "filters", {}, loud_tuning=TUNING)

    saved = TUNINGS.to_dict(TUNINGS.get("fuller")())

    assert saved == {"kind": "fuller", "from": {"promptlab.tunings:fuller": "loud==1.0"}}
    assert type(TUNINGS.from_dict(saved)).__name__ == "Fuller"


def test_parts_of_promptlab_are_saved_without_a_package():
    assert TUNINGS.to_dict(Full()) == {"kind": "full"}


def test_a_saved_part_whose_package_is_missing_says_what_to_install():
    saved = {"kind": "mine", "from": {"promptlab.verbalizers:mine": "my-own==2.1"}, "label_words": {}}

    with pytest.raises(
        SavedModelError,
        match=r"verbalizer kind 'mine' comes from the package my-own 2\.1, which isn't installed; "
        r"install it: pip install my-own==2\.1\.",
    ):
        VERBALIZERS.from_dict(saved)


def test_a_saved_part_whose_package_gives_it_no_more_says_so(distribute):
    distribute("my-own", "tunings", {}, version="3.0")

    with pytest.raises(SavedModelError, match=r"my-own 2\.1, which is installed as 3\.0 and doesn't bring it any more"):
        TUNINGS.from_dict({"kind": "mine", "from": {"promptlab.tunings:mine": "my-own==2.1"}})


def test_what_a_saved_text_calls_from_is_no_package():
    check_brought({"examples": [{"fields": {"from": "Rome", "to": {"from": {"a": "b"}}}}]})


def test_a_newer_version_of_a_package_makes_another_identity(distribute, monkeypatch):
    distribute("loud", "tunings", {"fuller": "loud_tuning:Fuller"}, loud_tuning=TUNING)
    part = TUNINGS.get("fuller")()
    first, same, own = digest(part), digest(part), digest(Full())

    monkeypatch.setattr(plugins, "_packages", lambda: {"loud_tuning": "loud==1.1"})
    plugins.package_of.cache_clear()

    assert (first == same, first == digest(part), own == digest(Full())) == (True, False, True)


def test_an_unknown_name_knows_those_of_packages(distribute):
    distribute("loud", "filters", {"shout": "loud_text:shout"}, loud_text=SHOUT)

    with pytest.raises(UnknownNameError, match="did you mean 'shout'"):
        FILTERS.get("shoot")


def test_templates_of_packages_have_to_be_templates(distribute):
    distribute("loud", "templates", {"own": "loud_template:Own"}, loud_template=f"{TUNING}Own = Fuller\n")

    with pytest.raises(PluginError, match="is no class derived from promptlab"):
        TEMPLATES.get("own")
