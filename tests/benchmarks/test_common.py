"""What benchmarks share: each run is done once and kept, tables and notes are written one way."""

from __future__ import annotations

import functools
import itertools
import json
import os
import signal
import time
from multiprocessing import get_context

import pytest

from benchmarks.common import timing
from benchmarks.common.options import DATA, DEVICE, FOLDER, SOME_SEEDS, parse, some_of, value_of, values_of
from benchmarks.common.runs import Benchmark, Measurement
from benchmarks.common.setup import QUICK, RESULTS, Setup, Size
from benchmarks.common.tables import Page, counted, known_rows, mean, over_seeds, percent, table, under

TIMEOUT = 20  # seconds, of processes that hang


def page(runs, about):
    return Page([table(["run", "value"], [[key, str(run)] for key, run in runs.items()])], f"Of {about['n']}.")


def counting(calls, *keys, **more):
    """A benchmark whose runs count their calls."""

    def run(key):
        calls.append(key)
        return len(calls)

    jobs = [lambda options: [(key, functools.partial(run, key)) for key in keys]]
    settings = {"kind": Benchmark, "stages": jobs, "options": [value_of("n", 3)], "recorded": ["n"], **more}
    return settings.pop("kind")(name="counts", title="Counts", doc="Counts calls.", page=page, **settings)


def kept(folder):
    return json.loads((folder / "counts.json").read_text(encoding="utf-8"))


def unfinished(folder):
    return folder / ".unfinished" / "counts"


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def orphan():
    """Kill the process that has started this one, and end later."""
    parent = os.getppid()
    os.kill(parent, signal.SIGKILL)
    time.sleep(0.2)
    return parent


def orphaned(options):
    return [("a", orphan)]


def test_runs_are_kept_with_what_is_recorded_about_them_and_shown_on_a_page(tmp_path):
    counting([], "a", "b", about={"model": "none"}).main(["--results", str(tmp_path), "--n", "5"])

    document, text = kept(tmp_path), (tmp_path / "counts.md").read_text(encoding="utf-8")
    assert document["runs"] == {"a": 1, "b": 2}
    assert list(document["about"]) == ["model", "n", "date", "versions"]
    assert (document["about"]["model"], document["about"]["n"]) == ("none", 5)
    assert text.startswith("# Counts\n\n| run | value |\n|---|---|\n| a | 1 |\n| b | 2 |\n\nOf 5. 20")


def test_only_runs_that_are_missing_are_done(tmp_path):
    calls = []
    counting(calls, "a").main(["--results", str(tmp_path)])
    counting(calls, "a", "b").main(["--results", str(tmp_path)])

    assert calls == ["a", "b"]
    assert kept(tmp_path)["runs"] == {"a": 1, "b": 2}


def test_runs_that_ended_before_an_error_are_kept(tmp_path):
    def jobs(options):
        return [("a", lambda: 1), ("b", lambda: 1 / 0)]

    with pytest.raises(ZeroDivisionError):
        counting([], stages=[jobs]).main(["--results", str(tmp_path)])

    assert kept(tmp_path)["runs"] == {"a": 1} and not unfinished(tmp_path).exists()


@pytest.fixture
def beside():
    """A function that starts a benchmark in a process of its own, which doesn't outlive the test."""
    started = []

    def start(own, folder, *words):
        started.append(get_context("fork").Process(target=own.main, args=(["--results", str(folder), *words],)))
        started[-1].start()
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.join()


def test_what_a_killed_process_has_done_is_kept_and_published_by_the_next(tmp_path, beside):
    calls = []
    killed = [lambda options: [("a", lambda: "killed later"), ("b", dict), ("c", die)]]
    first = beside(counting([], stages=killed), tmp_path, "--n", "5")
    first.join(TIMEOUT)
    assert first.exitcode == -signal.SIGKILL and not (tmp_path / "counts.json").exists()
    assert counting([]).kept(tmp_path).runs() == {"a": "killed later", "b": {}}

    counting(calls, "a", "b").main(["--results", str(tmp_path)])

    assert calls == [] and kept(tmp_path)["about"]["n"] == 5
    assert list(kept(tmp_path)["runs"].items()) == [("a", "killed later"), ("b", {})]
    assert not unfinished(tmp_path).exists()


def test_a_worker_whose_process_was_killed_ends_its_run_which_is_kept(tmp_path, beside):
    first = beside(counting([], stages=[orphaned], own_process=True), tmp_path)
    first.join(TIMEOUT)
    assert first.exitcode == -signal.SIGKILL

    counting([], "a").main(["--results", str(tmp_path)])

    assert kept(tmp_path)["runs"] == {"a": first.pid}


def test_processes_that_work_at_once_share_the_runs(tmp_path, beside):
    meeting, log = get_context("fork").Barrier(2), tmp_path / "log"

    def run(key):
        with log.open("a") as file:
            file.write(key)
        if key in "ab":
            meeting.wait(TIMEOUT)  # one process alone would wait in vain
        return key.upper()

    own = counting([], stages=[lambda options: [(key, functools.partial(run, key)) for key in "abcd"]])
    both = [beside(own, tmp_path) for _ in range(2)]
    for process in both:
        process.join(TIMEOUT)

    assert [process.exitcode for process in both] == [0, 0]
    assert sorted(log.read_text()) == ["a", "b", "c", "d"]
    assert kept(tmp_path)["runs"] == {"a": "A", "b": "B", "c": "C", "d": "D"}
    assert not unfinished(tmp_path).exists()


def test_a_run_in_which_another_process_fails_is_done_by_the_one_that_waits(tmp_path, beside):
    begun = get_context("fork").Event()
    other = beside(counting([], stages=[lambda options: [("a", lambda: begun.set() or time.sleep(TIMEOUT))]]), tmp_path)
    begun.wait(TIMEOUT)

    own = counting([], stages=[lambda options: [("a", lambda: "mine"), ("b", other.kill)]])
    own.main(["--results", str(tmp_path)])

    assert list(kept(tmp_path)["runs"].items()) == [("b", None), ("a", "mine")]


def test_the_last_of_several_processes_publishes_the_runs_of_all(tmp_path, beside, capsys):
    begun, end = get_context("fork").Event(), get_context("fork").Event()
    slow = counting([], stages=[lambda options: [("a", lambda: begun.set() or end.wait(TIMEOUT))]])
    other = beside(slow, tmp_path)
    begun.wait(TIMEOUT)

    counting([], "b").main(["--results", str(tmp_path)])
    assert "other processes are at work" in capsys.readouterr().out and not (tmp_path / "counts.json").exists()
    end.set()
    other.join(TIMEOUT)

    assert kept(tmp_path)["runs"] == {"a": True, "b": 1}
    assert "| a | True |" in (tmp_path / "counts.md").read_text(encoding="utf-8")


def test_when_nothing_is_missing_the_page_keeps_its_date(tmp_path):
    document = {"about": {"n": 3, "date": "2001-02-03"}, "runs": {"a": 7}}
    (tmp_path / "counts.json").write_text(json.dumps(document), encoding="utf-8")
    counting([], "a").main(["--results", str(tmp_path)])

    assert (tmp_path / "counts.md").read_text(encoding="utf-8").endswith("| a | 7 |\n\nOf 3. 2001-02-03.\n")


def test_measurements_are_done_again(tmp_path):
    calls = []
    for _ in range(2):
        counting(calls, "a", kind=Measurement).main(["--results", str(tmp_path)])

    assert calls == ["a", "a"] and kept(tmp_path)["runs"] == {"a": 2}
    assert kept(tmp_path)["about"]["threads"] >= 1


def test_a_stage_begins_when_the_one_before_it_has_ended(tmp_path):
    def first(options):
        return [("a", lambda: "from the first")]

    def second(options):
        return [("b", functools.partial(own.kept(tmp_path).runs().get, "a"))]

    own = counting([], stages=[first, second])
    own.main(["--results", str(tmp_path)])

    assert kept(tmp_path)["runs"]["b"] == "from the first"


def two_processes(options):
    return [("a", os.getpid), ("b", os.getpid)]


def test_runs_have_processes_of_their_own_where_a_benchmark_says_so(tmp_path):
    counting([], stages=[two_processes], own_process=True).main(["--results", str(tmp_path)])

    assert len({*kept(tmp_path)["runs"].values(), os.getpid()}) == 3


def test_options_have_defaults_and_say_what_all_runs_are_given(tmp_path):
    rows = [FOLDER, DEVICE, SOME_SEEDS, some_of("tasks", ["a", "b", "c"], ["b"]), values_of("rates", 1.0, 2.0)]

    plain = parse("doc", rows, [str(tmp_path)])
    given = parse("doc", rows, [str(tmp_path), "--device", "cuda", "--seeds", "21", "--rates", "3", "--quick"])

    assert plain.setup == Setup(folder=tmp_path, device="cpu", results=RESULTS, size=Size())
    assert (plain.seeds, plain.tasks, plain.rates) == ([13, 21, 42, 87, 100], ["b"], [1.0, 2.0])
    assert given.setup == Setup(folder=tmp_path, device="cuda", results=RESULTS / "quick", size=QUICK)
    assert (given.seeds, given.rates) == ([21], [3.0])
    assert parse("doc", [DATA], []).setup.folder is None
    with pytest.raises(SystemExit):
        parse("doc", rows, [str(tmp_path), "--tasks", "d"])


def test_a_quick_run_takes_few_different_rows_in_their_order_and_few_updates():
    quick, rows = Setup(size=Size(rows=5, updates=2)), list(range(100))

    some = quick.some(rows)

    assert len(set(some)) == 5 and some == sorted(some) == quick.some(rows)
    assert quick.some([3, 1]) == [3, 1] and Setup().some(rows) is rows
    shared = {"device": "cpu", "precision": "no"}
    assert quick.settings(tuning="full", epochs=3) == {"tuning": "full", "epochs": None, "max_steps": 2, **shared}
    assert quick.settings(tuning="none") == {"tuning": "none", **shared}
    assert Setup().settings(epochs=3) == {"epochs": 3, **shared}


def test_cells_show_the_mean_its_deviation_and_how_many_values_are_missing():
    assert mean([]) == "–"
    assert mean([70.04]) == "70.0"
    assert mean([1.0, 3.0]) == "2.0 (1.4)"  # √((1 + 1) / 1)
    assert mean([0.5, 0.5], digits=3) == "0.500 (0.000)"
    assert percent([{"f1": 0.25}, {"f1": 0.75}], "f1") == "50.0 (35.4)"
    assert [counted(values, 2) for values in ([], [4.0], [4.0, 4.0])] == ["–", "4.0 [1]", "4.0 (0.0)"]


def test_runs_are_found_by_the_beginning_of_their_keys():
    runs = {"a/b/21": 1, "a/b/13": 2, "a/bc/13": 3, "a/b/7": 4}

    assert over_seeds(runs, "a/b") == [2, 1]
    assert under(runs, "a/b") == {"21": 1, "13": 2, "7": 4}


def test_tables_have_a_line_for_each_row_and_leave_out_rows_without_figures():
    rows = [["x", "1", "–"], ["y", "–", "–"]]

    assert table(["", "b", "c"], known_rows(rows)) == "| | b | c |\n|---|---|---|\n| x | 1 | – |"


def test_a_page_ends_with_its_note_date_and_versions():
    text = Page(["| a |", "between"], "Model m.").text(
        "T", {"date": "2001-02-03", "versions": {"torch": "2", "p": "1"}}
    )

    assert text == "# T\n\n| a |\n\nbetween\n\nModel m. 2001-02-03, torch 2, p 1.\n"


def test_contestants_take_turns_and_rounds_that_warm_up_do_not_count():
    calls, clock = [], itertools.count()
    contest = {name: functools.partial(calls.append, name) for name in ("a", "b")}

    seconds = timing.in_turn(contest, 2, warm_up=1, clock=lambda: float(next(clock)))

    assert calls == ["a", "b"] * 3
    assert seconds == {"a": [1.0, 1.0], "b": [1.0, 1.0]}
    assert timing.medians({"a": [1.0, 2.0, 9.0]}) == {"a": 2.0}
    assert timing.ratio({"a": [1.0, 3.0, 9.0], "b": [2.0]}, "a", "b") == 1.5


def test_a_call_is_timed_by_the_clock_that_is_named():
    result, seconds = timing.timed(lambda: "done", time.process_time)

    assert result == "done" and 0 <= seconds < 1
