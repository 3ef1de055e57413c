import re
from collections import Counter

import pytest

import promptlab.core.files
from promptlab.core.errors import DataError, UnknownNameError
from promptlab.core.files import library_folder, sha256
from promptlab.data.readers import read_examples
from promptlab.data.samples import load_sample, sample_names, write_demo_data

CLASSES = {
    "ag_news": ["Business", "Sci/Tech", "Sports", "World"],
    "sst2": ["negative", "positive"],
    "trec": ["abbreviation", "description", "entity", "human", "location", "number"],
}
TEST_ROWS = {"ag_news": 1000, "sst2": 872, "trec": 500}


@pytest.fixture(params=sorted(CLASSES))
def sample(request):
    return load_sample(request.param)


def test_three_samples_come_with_the_package():
    assert sample_names() == ["ag_news", "sst2", "trec"]


def test_test_rows_are_as_many_as_the_readme_says(sample):
    assert len(sample.test) == TEST_ROWS[sample.name]
    assert {example.label for example in sample.test} == set(CLASSES[sample.name])


def test_every_row_has_a_text_and_nothing_else(sample):
    for example in sample.pool + sample.test:
        assert list(example.fields) == ["text_a"]
        assert example.fields["text_a"].strip()


def test_splits_are_there_for_the_five_usual_seeds(sample):
    assert list(sample.splits) == [13, 21, 42, 87, 100]


def test_each_split_has_16_train_and_16_dev_rows_of_each_class(sample):
    for seed in sample.splits:
        for part in sample.few_shot(seed):
            assert Counter(example.label for example in part) == dict.fromkeys(CLASSES[sample.name], 16)


def test_indices_of_a_split_are_sorted_and_disjoint(sample):
    for train, dev in sample.splits.values():
        assert train == sorted(set(train))
        assert dev == sorted(set(dev))
        assert not set(train) & set(dev)


def test_the_pool_is_the_rows_that_some_split_uses(sample):
    used = {row for split in sample.splits.values() for rows in split for row in rows}

    assert used == set(range(len(sample.pool)))


def test_few_shot_gives_the_rows_that_the_index_file_names(sample):
    train, dev = sample.few_shot(42)

    assert train == [sample.pool[row] for row in sample.splits[42].train]
    assert dev == [sample.pool[row] for row in sample.splits[42].dev]


def test_first_rows_are_those_of_the_published_data():
    assert load_sample("sst2").test[0].fields["text_a"] == "one long string of cliches ."
    assert load_sample("trec").test[0].fields["text_a"] == "How far is it from Denver to Aspen ?"
    assert load_sample("trec").test[0].label == "number"


def test_the_readme_gives_the_hash_of_each_file(sample):
    folder = library_folder("data") / sample.name
    listed = dict(re.findall(r"\| `(\S+)` \| `([0-9a-f]{64})` \|", (folder / "README.md").read_text(encoding="utf-8")))

    assert listed == {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in folder.rglob("*")
        if path.suffix in (".tsv", ".json")
    }


def test_an_unknown_seed_lists_the_seeds():
    with pytest.raises(DataError, match=r"sst2 has no split of seed 1; choose from 13, 21, 42, 87, 100\."):
        load_sample("sst2").few_shot(1)


@pytest.mark.parametrize("name", ["sst-2", "", "../data/sst2"])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(UnknownNameError, match=r"unknown data sample .* Known: ag_news, sst2, trec\."):
        load_sample(name)


def test_an_installed_package_reads_the_files_inside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(promptlab.core.files, "__file__", str(tmp_path / "promptlab" / "core" / "files.py"))
    assert library_folder("data") == tmp_path / "data"

    (tmp_path / "promptlab" / "library_files" / "data").mkdir(parents=True)
    assert library_folder("data") == tmp_path / "promptlab" / "library_files" / "data"


def test_the_files_of_the_readme_are_written_once_and_replace_nothing(tmp_path):
    files = write_demo_data(tmp_path / "new")

    assert [str(file.relative_to(tmp_path / "new")) for file in files] == [
        "data/sst2/pool.tsv",
        "data/sst2/test.tsv",
        "reviews.txt",
        "words.txt",
    ]
    assert read_examples(files[0]) == load_sample("sst2").pool
    assert write_demo_data(tmp_path / "new") == files  # again: they are there
    (tmp_path / "new" / "words.txt").write_text("mine", encoding="utf-8")
    files[0].unlink()
    with pytest.raises(DataError, match=r"words\.txt' holds something else; choose another folder"):
        write_demo_data(tmp_path / "new")
    assert not files[0].exists()
