from __future__ import annotations

import errno
import importlib.util
import json
import os
import pickle
import subprocess
import sys

import pytest
import torch
from joblib import parallel_config
from joblib.externals.loky import get_reusable_executor

from promptlab.backbones.catalog import load_backbone
from promptlab.core.entries import Entry
from promptlab.core.errors import BackboneError, DataError, JobError, UnknownNameError
from promptlab.core.identity import fingerprint
from promptlab.core.registry import TEMPLATES
from promptlab.core.types import Example
from promptlab.jobs.jobs import Job, is_finished, run, work
from promptlab.jobs.workspace import PART, Workspace, drawn_rows, some_rows

TASKS = """
import os, signal

def write(settings, folder, workspace):
    with open(workspace.work.folder / "calls", "a") as calls:
        calls.write(settings["text"])
    (folder / "text").write_text(settings["text"])

def fail(settings, folder, workspace):
    (folder / "half").write_text("half")
    raise ValueError("a bad\\nvalue")

def die(settings, folder, workspace):
    (folder / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)

def names(settings, folder, workspace):
    from promptlab.core.registry import TEMPLATES
    (folder / "names").write_text(" ".join(TEMPLATES.names))

def die_once(settings, folder, workspace):
    if not (workspace.work.folder / "died").exists():
        (workspace.work.folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    write(settings, folder, workspace)
"""


@pytest.fixture(scope="module", autouse=True)
def tasks(tmp_path_factory):
    """A module that workers can import."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "job_tasks.py").write_text(TASKS)
    get_reusable_executor().shutdown()  # workers of other tests don't look into this folder
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "work")


def job(text, task="write"):
    return Job(f"job {text}", f"job_tasks:{task}", {"text": text})


def texts(folders):
    return [(folder / "text").read_text() for folder in folders]


def test_results_come_in_the_order_of_the_jobs_and_are_kept(workspace):
    done = []

    first = run([job("b"), job("a"), job("b")], workspace, done=done.append)
    again = run([job("a"), job("c")], workspace, done=done.append)

    assert texts(first) == ["b", "a", "b"]
    assert texts(again) == ["a", "c"]
    assert (workspace.work.folder / "calls").read_text() == "bac"
    assert sum(done[:3]) == 3 and sum(done) == 5


def test_a_job_that_somebody_else_has_finished_meanwhile_is_not_done_again(workspace):
    work(job("a"), workspace)
    work(job("a"), workspace)

    assert (workspace.work.folder / "calls").read_text() == "a"


def test_a_job_is_what_it_does_and_not_what_it_is_called():
    same = Job("another name", "job_tasks:write", {"a": "x", "b": [1, None]})

    assert same.key == Job("a name", "job_tasks:write", {"a": "x", "b": [1, None]}).key
    assert same.key != Job("a name", "job_tasks:write", {"a": "x", "b": [2, None]}).key
    assert same.key != Job("a name", "job_tasks:fail", {"a": "x", "b": [1, None]}).key


def test_parts_that_were_added_to_a_registry_are_known_in_other_processes(workspace, monkeypatch):
    monkeypatch.setitem(TEMPLATES.entries, "mine", Entry("job_tasks:Mine"))

    folders = run([job("a", "names"), job("b", "names")], workspace, executor="joblib", workers=2)

    assert all("mine" in (folder / "names").read_text().split() for folder in folders)


def test_a_failure_names_the_job_in_one_line_and_keeps_what_is_finished(workspace):
    with pytest.raises(JobError, match=r"^job b failed: ValueError: a bad value. What is finished is kept") as caught:
        run([job("a"), job("b", "fail"), job("c")], workspace)

    assert isinstance(caught.value.__cause__, ValueError)
    assert is_finished(job("a"), workspace)
    assert [path.name for path in (workspace.work.folder / "jobs").iterdir()] == [job("a").key]


def test_a_full_disk_loses_nothing_that_is_finished(workspace, monkeypatch):
    run([job("a")], workspace)
    rename = os.rename
    monkeypatch.setattr("promptlab.core.files.os.rename", lambda *_: (_ for _ in ()).throw(full()))

    with pytest.raises(JobError, match=r"job b failed: .*no space is left; make room.*run again to go on"):
        run([job("a"), job("b")], workspace)

    monkeypatch.setattr("promptlab.core.files.os.rename", rename)
    assert texts(run([job("a"), job("b")], workspace)) == ["a", "b"]
    assert (workspace.work.folder / "calls").read_text() == "abb"


def full():
    return OSError(errno.ENOSPC, "No space left on device")


def test_what_a_dead_process_left_half_written_is_removed(workspace):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    half = workspace.result(f".{job('a').key}.{os.uname().nodename}-{child.pid}.xyz")
    half.mkdir(parents=True)

    run([job("a")], workspace)

    assert [path.name for path in (workspace.work.folder / "jobs").iterdir()] == [job("a").key]


def test_what_a_living_process_is_writing_is_left_alone(workspace):
    half = workspace.result(f".{job('a').key}.{os.uname().nodename}-{os.getpid()}.xyz")
    half.mkdir(parents=True)

    run([job("a")], workspace)

    assert half.is_dir()


def test_workers_that_die_are_told_with_their_job_and_lose_nothing_finished(workspace):
    run([job("a")], workspace)

    with pytest.raises(JobError, match=r"a worker process died .* at work on .*job b.*run again to go on"):
        run([job("a"), job("b", "die"), job("c")], workspace, executor="joblib", workers=2)

    assert texts(run([job("a"), job("b")], workspace)) == ["a", "b"]
    assert (workspace.work.folder / "calls").read_text().count("a") == 1


def test_an_executor_that_is_missing_or_unknown_is_told(workspace):
    with pytest.raises(UnknownNameError, match=r"unknown executor 'slurm'.*joblib, ray, serial"):
        run([job("a")], workspace, executor="slurm")
    with pytest.raises(JobError, match="workers=0"):
        run([job("a")], workspace, workers=0)


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="ray is installed")
def test_ray_is_asked_for_where_it_is_missing(workspace):
    with pytest.raises(JobError, match=r"promptlab\[ray\]"):
        run([job("a")], workspace, executor="ray")


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None or "PROMPTLAB_TEST_RAY" not in os.environ,
    reason="starts Ray, which binds to the machine's address: set PROMPTLAB_TEST_RAY in a namespace with only lo",
)
def test_ray_begins_a_job_again_whose_worker_was_killed(workspace, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    monkeypatch.setitem(TEMPLATES.entries, "mine", Entry("job_tasks:Mine"))

    *folders, last = run([job("a"), job("b", "die_once"), job("n", "names")], workspace, executor="ray", workers=2)

    assert texts(folders) == ["a", "b"] and "mine" in (last / "names").read_text().split()
    with pytest.raises(JobError, match=r"a worker process died .* at work on job d"):
        run([job("d", "die")], workspace, executor="ray", workers=2)


ODD = [
    Example({"text_a": "line\u2028separator\nand\x85more", "n": 3}, "x"),
    Example({"text_a": "\ud800 alone", "text_b": None}),
]


def test_examples_come_back_as_they_were(workspace):
    name = workspace.store(ODD)

    assert workspace.examples(name) == ODD
    assert workspace.store(ODD) == name
    assert workspace.store(ODD[::-1]) != name


def test_a_value_that_json_does_not_know_is_told(workspace):
    with pytest.raises(
        DataError,
        match=r"field 'text_a' of row 1 is <object.*of type object, which can't be kept as it is",
    ):
        workspace.store([Example({"text_a": object()})])


def test_a_full_disk_is_told_where_data_are_written(workspace, monkeypatch):
    monkeypatch.setattr("promptlab.core.files.os.replace", lambda *_: (_ for _ in ()).throw(full()))

    with pytest.raises(DataError, match=r"can't keep data: .*no space is left; make room.*What is finished is kept in"):
        workspace.store(ODD)


def test_damaged_data_is_told(workspace):
    name = workspace.store(ODD)
    (workspace.work.folder / "data" / f"{name}.jsonl").write_text("{")

    with pytest.raises(DataError, match="can't be read"):
        workspace.examples(name)


def test_a_large_set_is_read_and_kept_in_parts(workspace):
    made = 0

    def rows():
        nonlocal made
        for made in range(2 * PART + 5):
            yield Example({"text_a": str(made)})

    chunks = workspace.store_chunks(rows())
    some = [2 * PART, 3, PART, 3]

    assert (len(chunks.names), chunks.total) == (3, 2 * PART + 5)
    assert [len(workspace.examples(name)) for name in chunks.names] == [PART, PART, 5]
    assert [example.fields["text_a"] for example in some_rows(workspace, chunks.names, some)] == list(map(str, some))


def test_rows_are_drawn_only_if_there_are_too_many():
    assert drawn_rows(4, 4, seed=0) == [0, 1, 2, 3]
    drawn = drawn_rows(100, 10, seed=0)
    assert len(set(drawn)) == 10 and drawn == sorted(drawn) and max(drawn) < 100
    assert drawn != drawn_rows(100, 10, seed=1)


def test_models_stay_in_their_process(tiny_backbone, tmp_path):
    backbone = tiny_backbone("bert")
    workspace = Workspace(tmp_path, models=[backbone])
    name = {"name": backbone.name, "identity": workspace.identity(backbone)}

    sent = pickle.loads(pickle.dumps(workspace))

    assert workspace.backbone(name) is backbone
    assert len(pickle.dumps(workspace)) < 1000
    with pytest.raises(BackboneError, match=r"'tiny-bert' can't be loaded by its name .*executor='serial'"):
        sent.backbone(name)


def test_a_model_that_was_changed_after_loading_is_not_loaded_again_by_name(saved_model, tmp_path):
    base = load_backbone(saved_model("bert"))
    named = {"name": base.name, "identity": Workspace(tmp_path).identity(base)}
    assert Workspace(tmp_path).backbone(named).name == base.name

    with torch.no_grad():
        base.embedding_weight()[7] += 1
    changed = {"name": base.name, "identity": Workspace(tmp_path).identity(base)}

    with pytest.raises(BackboneError, match="was loaded with other weights than it was given with"):
        Workspace(tmp_path).backbone(changed)


def test_a_random_head_is_no_part_of_a_models_identity(tiny_backbone):
    one, other = tiny_backbone("bert"), tiny_backbone("bert")
    with torch.no_grad():
        other.decoder()[1][3] += 1
    assert fingerprint(one) != fingerprint(other)

    one.has_lm_head = other.has_lm_head = False

    assert fingerprint(one) == fingerprint(other)


def test_nothing_is_said_to_be_kept_in_a_folder_that_goes(tmp_path):
    with pytest.raises(JobError, match=r"ValueError: a bad value\. Nothing is kept; set resume_dir"):
        run([job("b", "fail")], Workspace(tmp_path, temporary=True))


def test_threads_of_one_process_are_refused(workspace):
    with parallel_config("threading"), pytest.raises(JobError, match="ThreadingBackend runs jobs in threads"):
        run([job("a"), job("b")], workspace, executor="joblib")


def test_the_mark_says_what_was_done(workspace):
    (folder,) = run([job("a")], workspace)

    assert json.loads((folder / "job.json").read_text()) == {
        "name": "job a", "task": "job_tasks:write", "settings": {"text": "a"},
    }  # fmt: skip
