"""What strangers write into templates ends soon, in little memory, with one line; what is harmless goes on working."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import pytest

from promptlab.core.errors import TemplateError
from promptlab.core.registry import TEMPLATES
from promptlab.library.pvps import read_pvps
from promptlab.library.resolve import resolve_template
from promptlab.templates.manual import ManualTemplate
from promptlab.templates.rendering import _compiled, render_segments

HERE = Path(__file__).parent


def beside(name):
    """A module of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


attacks, random_templates = beside("attack_templates"), beside("random_templates")

MEMORY = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from attack_templates import ATTACKS, FIELDS
from promptlab.core.errors import TemplateError
from promptlab.templates.rendering import _compiled, render_segments

render_segments("{{ text_a | upper }} {{ mask }}", FIELDS)
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 100 * 2**20, now + 100 * 2**20))
for source in ATTACKS:
    _compiled.cache_clear()
    try:
        render_segments(source, FIELDS)
    except TemplateError as error:
        if "MemoryError" in str(error):
            sys.exit(source[:200])
"""


@pytest.mark.parametrize("source", attacks.ATTACKS, ids=range(len(attacks.ATTACKS)))
def test_an_attack_ends_within_a_second_in_one_line(source):
    start = time.process_time()

    with pytest.raises(TemplateError) as caught:
        render_segments(source, attacks.FIELDS)

    assert time.process_time() - start < 1
    assert len(str(caught.value)) <= 500
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("source", attacks.RUN, ids=range(len(attacks.RUN)))
def test_an_attack_ends_as_soon_where_the_fields_are_not_known_yet(source):
    start = time.process_time()

    try:
        ManualTemplate(source).slot  # noqa: B018 - what is asked for by a head
    except TemplateError as error:
        assert len(str(error)) <= 500

    assert time.process_time() - start < 1


@pytest.mark.parametrize("seed", range(5))
def test_templates_by_chance_end_soon_in_text_or_one_line(seed):
    drawn = random_templates.RandomTemplates(seed)

    for source in [drawn.template() for _ in range(200)]:
        for render in (lambda: render_segments(source, attacks.FIELDS), lambda: ManualTemplate(source).slot):  # noqa: B023
            start = time.process_time()
            try:
                render()
            except TemplateError as error:
                assert len(str(error)) <= 500, source
                assert "MemoryError" not in str(error), source
            assert time.process_time() - start < 1, source


@pytest.mark.skipif(sys.platform != "linux", reason="reads the size of a process from /proc")
def test_all_attacks_pass_in_a_process_that_has_100_megabytes_more():
    result = subprocess.run([sys.executable, "-c", MEMORY, str(HERE)], capture_output=True, text=True, check=False)

    assert (result.returncode, result.stderr[-500:]) == (0, "")


def from_yaml(source, folder):
    (folder / "pairs.yaml").write_text(f"pvps:\n- template: {source!r}\n  verbalizer: sst2\n", encoding="utf-8")
    return resolve_template(read_pvps(folder / "pairs.yaml")[0].template)


def from_saved(source, folder):
    return TEMPLATES.from_dict({"kind": "manual", "source": source})


def from_demonstrations(source, folder):
    return TEMPLATES.from_dict({"kind": "in-context", "template": {"$template": {"kind": "manual", "source": source}}})


@pytest.mark.parametrize("read", [from_yaml, from_saved, from_demonstrations])
@pytest.mark.parametrize(
    "source", ["{{ [1]*10**9 }} {{ mask }}", "{{ soft(1000000000) }}{{ mask }}", "{{ mask(10**12) }}"]
)
def test_it_makes_no_difference_where_a_template_comes_from(read, source, tmp_path):
    with pytest.raises(TemplateError):
        read(source, tmp_path).slot  # noqa: B018


def test_demonstrations_are_not_drawn_ten_million_times():
    with pytest.raises(TemplateError, match="sets=10000000 must be from 1 to 10,000"):
        TEMPLATES.from_dict({"kind": "demonstrations", "template": "{{ text_a }} {{ mask }}", "sets": 10_000_000})


HARMLESS = {
    "{% if stars > 3 %}good{% else %}bad{% endif %}": "good",
    "{{ 'good' if stars > 3 else 'bad' }}": "good",
    "{% for c in choices %}{{ loop.index }}. {{ c }}{% if not loop.last %}, {% endif %}{% endfor %}": "1. red, 2. blue",
    "{{ choices | join(' or ') }}": "red or blue",
    "{{ choices | map('upper') | join('/') }}": "RED/BLUE",
    "{{ choices[1] }} {{ choices[-1] | capitalize }} {{ choices | length }}": "blue Blue 2",
    "{{ text_a[:6] }}|{{ text_a[::-1] }}|{{ text_a[2] }}": "A film|.mlif A|f",
    "{{ text_a.lower().replace('film', 'book').strip('.') }}": "a book",
    "{{ text_a.split()[0] }}-{{ text_a.split(' ', 1)[1] }}": "A-film.",
    "{% for word in text_a.split() %}[{{ word }}]{% endfor %}": "[A][film.]",
    "{{ meta.author }}, {{ meta['year'] }}, {{ meta.get('place', 'nowhere') }}": "Ann, 1999, nowhere",
    "{% for key, value in meta.items() %}{{ key }}={{ value }};{% endfor %}": "author=Ann;year=1999;",
    "{{ stars * 20 }}% {{ stars / 5 }} {{ stars // 3 }} {{ stars % 3 }} {{ stars ** 2 }} {{ -stars }}": (
        "80% 0.8 1 1 16 -4"
    ),
    "{{ '%.2f' % price }} {{ '%s of %d' % (text_a, stars) }} {{ '%5.1f' | format(price) }}": "2.50 A film. of 4   2.5",
    "{{ price | round(1) }} {{ price | int }} {{ '3' | int + 1 }} {{ stars | string + '!' }}": "2.5 2 4 4!",
    "{{ text_a ~ ' ' ~ stars }} {{ text_a + '!' }} {{ '-' * 5 }}": "A film. 4 A film.! -----",
    "{% set short = text_a | truncate(5, true, '', 0) %}{{ short }}": "A fil",
    "{% macro quote(x) %}“{{ x }}”{% endmacro %}{{ quote(text_a) }}{{ quote(x='b') }}": "“A film.”“b”",
    "{% set end %}It was {{ stars }}.{% endset %}{{ end }}": "It was 4.",
    "{% with a = text_a | upper %}{{ a }}{% endwith %}": "A FILM.",
    "{% if 'film' in text_a and text_a is string and missing is not defined %}yes{% endif %}": "yes",
    "{% if stars is odd or choices is mapping %}no{% else %}{{ missing | default('none') }}{% endif %}": "none",
    "{% for i in range(3) %}{{ i }}{% endfor %}{% for i in range(2, 8, 3) %}{{ i }}{% endfor %}": "01225",
    "{% for c in [] %}x{% else %}empty{% endfor %}": "empty",
    "{{ text_a | trim('.') | title | wordcount }}": "2",
    "{{ choices | sort | first }} {{ choices | reverse | list }} {{ [3, 1] | max }}": "blue ['blue', 'red'] 3",
    "{{ text_a.center(11, '*') }} {{ '7'.zfill(3) }}": "**A film.** 007",
    "{% raw %}{{ x }}{% endraw %}{# nothing #}": "{{ x }}",
    "{{ {'a': 1}['a'] }} {{ (1, 2)[0] }} {{ [1, [2]][1] }}": "1 1 [2]",
}
FIELDS = {
    "text_a": "A film.",
    "stars": 4,
    "price": 2.5,
    "choices": ["red", "blue"],
    "meta": {"author": "Ann", "year": 1999},
}


@pytest.mark.parametrize(("source", "text"), HARMLESS.items())
def test_what_prompts_are_written_with_goes_on_working(source, text):
    assert "".join(segment.text for segment in render_segments(source, FIELDS)) == text


def test_a_long_text_may_be_worked_on_as_often_as_a_short_one():
    text = "word " * 200_000  # a million characters, which is all that templates may make themselves
    source = (
        "{{ text_a[:-1] | strip_punctuation | upper }}{% if text_a.rstrip().endswith('d') %}!{% endif %}{{ text_a }}"
    )

    assert sum(len(segment.text) for segment in render_segments(source, {"text_a": text})) == 999_999 + 1 + 1_000_000


def test_a_long_list_may_be_looped_over():
    pieces = render_segments("{% for c in choices %}{{ c }}, {% endfor %}", {"choices": ["word"] * 20_000})

    assert len(pieces) == 40_000


def test_a_text_is_not_printed_a_thousand_times():
    with pytest.raises(TemplateError, match="makes a prompt of 9,000,000 characters"):
        render_segments("{{ text_a }}" * 900, {"text_a": "a" * 10_000})


def test_what_is_left_of_the_budget_is_nobody_elses():
    source = "{% for i in range(9000) %}{{ i }}{% endfor %}"  # most of one budget

    for _ in range(3):
        assert len(render_segments(source, {})) == 9_000


def test_a_template_that_was_refused_is_refused_again():
    _compiled.cache_clear()

    for _ in range(2):
        with pytest.raises(TemplateError, match="include"):
            render_segments("{% include 'x' %}", {})
