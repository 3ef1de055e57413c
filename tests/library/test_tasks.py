import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer

import promptlab.library.tasks
from promptlab.core.errors import TemplateError, UnknownNameError, VerbalizerError
from promptlab.library.resolve import resolve_verbalizer
from promptlab.library.tasks import tasks, template_entry, template_names, verbalizer_entry, verbalizer_names
from promptlab.templates.rendering import field_names, render_segments
from promptlab.verbalizers.manual import ManualVerbalizer
from promptlab.verbalizers.strings import MultiTokenVerbalizer

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "models/minilm/src/promptlab_minilm/model/tokenizer.json"
CHINESE = {"bustm", "csldcp", "eprstmt", "ocnli", "tnews"}
SENTIMENT = ["negative", "positive"]
INFERENCE = ["contradiction", "entailment", "neutral"]
CLASSES = {
    "ag_news": ["Business", "Sci/Tech", "Sports", "World"],
    "amazon": SENTIMENT,
    "boolq": ["false", "true"],
    "bustm": ["0", "1"],
    "cb": INFERENCE,
    "cola": ["acceptable", "unacceptable"],
    "copa": ["choice1", "choice2"],
    "cr": SENTIMENT,
    "dbpedia": [
        "Album",
        "Animal",
        "Artist",
        "Athlete",
        "Building",
        "Company",
        "EducationalInstitution",
        "Film",
        "MeanOfTransportation",
        "NaturalPlace",
        "OfficeHolder",
        "Plant",
        "Village",
        "WrittenWork",
    ],
    "eprstmt": ["Negative", "Positive"],
    "imdb": SENTIMENT,
    "mnli": INFERENCE,
    "mpqa": SENTIMENT,
    "mr": SENTIMENT,
    "mrpc": ["equivalent", "not_equivalent"],
    "ocnli": INFERENCE,
    "qnli": ["entailment", "not_entailment"],
    "qqp": ["duplicate", "not_duplicate"],
    "rte": ["entailment", "not_entailment"],
    "snli": INFERENCE,
    "sst2": SENTIMENT,
    "sst5": ["negative", "neutral", "positive", "very negative", "very positive"],
    "subj": ["objective", "subjective"],
    "tnews": [
        f"news_{topic}"
        for topic in [
            "agriculture",
            "car",
            "culture",
            "edu",
            "entertainment",
            "finance",
            "game",
            "house",
            "military",
            "sports",
            "stock",
            "story",
            "tech",
            "travel",
            "world",
        ]
    ],
    "trec": ["abbreviation", "description", "entity", "human", "location", "number"],
    "wic": ["false", "true"],
    "yahoo": [
        "Business & Finance",
        "Computers & Internet",
        "Education & Reference",
        "Entertainment & Music",
        "Family & Relationships",
        "Health",
        "Politics & Government",
        "Science & Mathematics",
        "Society & Culture",
        "Sports",
    ],
    "yelp_full": ["1", "2", "3", "4", "5"],
    "yelp_polarity": SENTIMENT,
}


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_file(str(TOKENIZER))


@pytest.fixture
def written_library(tmp_path, monkeypatch):
    """Write library files of one's own; gives the function that does so."""

    def write(kind, text):
        (tmp_path / kind).mkdir(exist_ok=True)
        (tmp_path / kind / "mine.yaml").write_text(text, encoding="utf-8")

    for kind in ("templates", "verbalizers"):
        (tmp_path / kind).mkdir()
    write("templates", "description: d\nfields: [text_a]\ntemplates: {one: {template: x, source: s}}")
    monkeypatch.setattr(promptlab.library.tasks, "library_folder", lambda kind: tmp_path / kind)
    promptlab.library.tasks._file_entries.cache_clear()
    yield write
    promptlab.library.tasks._file_entries.cache_clear()


def words_of(name):
    return [word for row in verbalizer_entry(name).label_words.values() for word in row]


def rendered(name):
    entry = template_entry(name)
    return render_segments(entry.template, {field: f"The {field}." for field in entry.fields})


def mask_count(name):
    return sum(segment.n for segment in rendered(name) if segment.kind == "mask")


def test_the_library_has_the_tasks_that_are_promised():
    assert set(CLASSES) | {"csldcp"} <= set(tasks())


def test_templates_and_verbalizers_are_for_the_same_tasks():
    assert {name.split("/")[0] for name in verbalizer_names()} == set(tasks())


@pytest.mark.parametrize("task", tasks())
def test_a_task_has_three_templates_or_more_and_a_verbalizer(task):
    assert len(template_names(task)) >= 3
    assert verbalizer_names(task)


@pytest.mark.parametrize("task", sorted(CLASSES))
def test_every_verbalizer_of_a_task_has_the_classes_of_its_data_set(task):
    for name in verbalizer_names(task):
        assert sorted(verbalizer_entry(name).label_words) == CLASSES[task], name


def test_csldcp_has_67_classes():
    for name in verbalizer_names("csldcp"):
        assert len(verbalizer_entry(name).label_words) == 67


@pytest.mark.parametrize("name", template_names())
def test_a_template_reads_its_first_field_and_no_undeclared_one(name):
    entry = template_entry(name)
    assert entry.fields[0] in field_names(entry.template)
    assert set(field_names(entry.template)) <= set(entry.fields)
    assert entry.source and entry.description


@pytest.mark.parametrize("name", template_names())
def test_a_template_has_exactly_one_group_of_masks(name):
    assert [segment.kind for segment in rendered(name)].count("mask") == 1


@pytest.mark.parametrize("name", template_names())
def test_a_template_has_no_doubled_space(name):
    # where the model's separator stands, no text meets text
    text = "".join(segment.text or "." for segment in rendered(name))
    assert "  " not in text


@pytest.mark.parametrize("task", tasks())
def test_the_defaults_of_a_task_go_together_with_one_mask(task):
    assert mask_count(task) == 1
    if task in CHINESE:
        assert all(len(word) == 1 for word in words_of(task))


@pytest.mark.parametrize("name", [name for name in verbalizer_names() if name.split("/")[0] not in CHINESE])
def test_english_label_words_are_single_tokens_of_the_small_model(name, tokenizer):
    split = {word: tokenizer.encode(word, add_special_tokens=False).tokens for word in words_of(name)}
    assert {word: tokens for word, tokens in split.items() if len(tokens) != 1 or tokens == ["[UNK]"]} == {}


@pytest.mark.parametrize("name", [name for name in verbalizer_names() if name.split("/")[0] in CHINESE])
def test_chinese_label_words_of_one_verbalizer_are_equally_long_and_fit_a_template(name):
    lengths = {len(word) for word in words_of(name)}
    assert len(lengths) == 1
    if verbalizer_entry(name).kind == "words":  # whole answers take as many masks as they need
        assert lengths <= {mask_count(template) for template in template_names(name.split("/")[0])}


@pytest.mark.parametrize("name", verbalizer_names())
def test_no_word_stands_twice_in_a_verbalizer(name):
    words = [word.lower() for word in words_of(name)]
    assert len(words) == len(set(words))


@pytest.mark.parametrize("name", verbalizer_names())
def test_a_verbalizer_has_words_for_every_class_a_source_and_settings_of_its_kind(name):
    entry = verbalizer_entry(name)
    assert entry.source
    assert len(entry.label_words) >= 2 and all(entry.label_words.values())
    assert resolve_verbalizer(name).classes == tuple(entry.label_words)


def test_a_verbalizer_of_any_kind_can_be_written_as_a_mapping_with_its_settings():
    words = {"a": ["x", "y"], "b": ["z"]}

    assert resolve_verbalizer({"kind": "strings", "label_words": words, "per_token": True}) == MultiTokenVerbalizer(
        words, per_token=True
    )
    assert resolve_verbalizer({"label_words": words, "aggregate": "sum-prob"}) == ManualVerbalizer(words, "sum-prob")
    with pytest.raises(UnknownNameError, match="unknown verbalizer kind 'string'; did you mean 'strings'"):
        resolve_verbalizer({"kind": "string", "label_words": words})
    with pytest.raises(VerbalizerError, match=r"settings \{'scale': 2\} don't fit a verbalizer of kind 'manual'"):
        resolve_verbalizer({"label_words": words, "scale": 2})


def test_label_words_in_a_file_may_have_settings(written_library):
    entry = "{kind: strings, label_words: {a: [x y], b: [z]}, source: s, per_token: true}"
    written_library("verbalizers", "verbalizers: {one: " + entry + "}")

    assert resolve_verbalizer("mine") == MultiTokenVerbalizer({"a": ["x y"], "b": ["z"]}, per_token=True)


def test_the_name_of_a_task_alone_means_its_first_entry():
    assert template_entry("sst2") == template_entry(template_names("sst2")[0])
    assert verbalizer_entry("sst2") == verbalizer_entry(verbalizer_names("sst2")[0])


def test_a_full_name_finds_the_published_template_and_words():
    assert template_entry("sst2/it-was").template == "{{ text_a }} It was {{ mask }}."
    assert verbalizer_entry("sst2/great-terrible").label_words == {"negative": ("terrible",), "positive": ("great",)}


def test_labels_that_yaml_would_read_as_numbers_or_booleans_stay_text():
    labels = [label for name in verbalizer_names() for label in verbalizer_entry(name).label_words]
    assert all(isinstance(label, str) for label in labels)
    assert set(verbalizer_entry("boolq").label_words) == {"true", "false"}


@pytest.mark.parametrize("find", [template_entry, verbalizer_entry, template_names, verbalizer_names])
def test_an_unknown_task_suggests_the_nearest(find):
    with pytest.raises(UnknownNameError, match="did you mean 'sst2'"):
        find("sst22")


def test_an_unknown_template_or_verbalizer_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'sst2/it-was'"):
        template_entry("sst2/it-wass")
    with pytest.raises(UnknownNameError, match="did you mean 'sst2/great-terrible'"):
        verbalizer_entry("sst2/great-terible")


@pytest.mark.parametrize("text", ["templates: [", "just text", "templates: {}", "description: d"])
def test_a_malformed_template_file_is_named(written_library, text):
    written_library("templates", text)
    with pytest.raises(TemplateError, match=r"mine\.yaml"):
        template_entry("mine")


@pytest.mark.parametrize("text", ["verbalizers: [", "just text", "verbalizers: {}"])
def test_a_malformed_verbalizer_file_is_named(written_library, text):
    written_library("verbalizers", text)
    with pytest.raises(VerbalizerError, match=r"mine\.yaml"):
        verbalizer_entry("mine")


def test_an_entry_that_lacks_something_is_named(written_library):
    written_library("templates", "description: d\nfields: [text_a]\ntemplates: {one: {source: s}}")
    written_library("verbalizers", "verbalizers: {one: {source: s}}")
    with pytest.raises(TemplateError, match=r"mine/one.*template"):
        template_entry("mine")
    with pytest.raises(VerbalizerError, match=r"mine/one.*label_words"):
        verbalizer_entry("mine")


def test_importing_the_library_imports_neither_yaml_nor_torch():
    code = "import sys, promptlab.library.tasks; assert not {'yaml', 'torch', 'jinja2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
