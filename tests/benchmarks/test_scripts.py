"""Every benchmark runs, with a random model, few rows and two updates; every page follows from the runs kept."""

from __future__ import annotations

import dataclasses
import importlib
import json

import pytest
from click.testing import CliRunner

from benchmarks import SCRIPTS
from benchmarks.accuracy.templates import ENGINES
from benchmarks.common.setup import RESULTS
from promptlab.cli.main import main
from promptlab.library.tasks import template_names, verbalizer_names

ONE = ["--seeds", "13"]
CAUSAL = ["--tasks", "sst2"]
POOL = "library, label words from the pool"
SEARCHED = ("heuristic", "masked-lm (minilm)", "lm (smollm2)", "autoprompt (pool), great / terrible", POOL)
RUNS = {  # a command line, in which DATA stands for the folder of data, and how many runs it makes
    "accuracy.defaults": [
        (["words", "--tasks", "ag_news"], len(template_names("ag_news")) * len(verbalizer_names("ag_news"))),
        (["rates", "--tasks", "sst2", "--splits", "13", "--rates", "1e-4", "--steps", "1"], 2),
        (["tunings", "--tasks", "sst2", "--splits", "13", "--methods", "ia3", "p-tuning-frozen"], 6),
    ],
    "accuracy.e2e": [(["DATA/e2e", "--pairs", "8"], 4)],
    "accuracy.ensembles": [(["DATA", "--tasks", "sst-2", "--sizes", "10", *ONE], 5)],
    "accuracy.fewshot": [(["--tasks", "trec", *ONE], 5)],
    "accuracy.grid": [(["--data", "DATA", "--tasks", "rte", *ONE, "--rates", "1e-3", "--updates", "2"], 4)],
    "accuracy.icl": [([*CAUSAL, *ONE], 2)],
    "accuracy.multilabel": [(ONE, 10)],
    "accuracy.ner": [(["DATA/wnut", *ONE], 4)],
    "accuracy.ppt": [(["DATA", *ONE, "--examples", "30"], 8)],
    "accuracy.templates": [
        (["DATA", "find", "--budget", "small", "--tasks", "sst2", *ONE, "--engines", *SEARCHED], 5),
        (["DATA", "zero-shot", "--tasks", "sst2", "--engines", "heuristic", POOL, *ONE], 2),
        (["DATA", "fine-tuned", "--tasks", "sst2", "--engines", "heuristic", *ONE], 1),
        (["DATA", "choice", "--tasks", "sst2", "--engines", "heuristic", *ONE], 1),
    ],
    "accuracy.tuning": [
        (["--tasks", "sst2", *ONE], 18),
        (["--data", "DATA", "--tasks", "rte-all", "--methods", "full"], 1),
    ],
    "accuracy.verbalizers": [
        (["DATA", "zero-shot", "--tasks", "ag_news", "trec"], 20),
        (["DATA", "few-shot", "--tasks", "ag_news", "--shots", "2", *ONE], 12),
        (["DATA", "time"], 2),
    ],
    "accuracy.widths": [(["--widths", "128", "--methods", "lora", "--seeds", "0"], 5)],
    "speed.autoprompt_reference": [(["--rounds", "1", "--steps", "1", "--examples", "8"], 1)],
    "speed.bare_model": [(["--rounds", "1", "--texts", "100"], 8)],
    "speed.joint": [(["--rounds", "1"], 3)],
    "speed.prefix_cache": [([*CAUSAL, "--queries", "4", "--repeats", "1"], 1)],
    "speed.small_budget": [(["DATA", "--tasks", "sst-2", "--engines", "heuristic"], 1)],
    "speed.soft_ensemble": [(["--rounds", "1"], 3)],
    "speed.t5_templates": [(["--beam", "8", "--examples", "2", "--longest", "3"], 1)],
}  # fmt: skip


def at_most_2(settings):
    return {name: min(value, 2) if isinstance(value, int) else value for name, value in settings.items()}


FEW = {name: (kind, at_most_2(settings)) for name, (kind, settings) in ENGINES.items()}
FEW["heuristic"] = ("heuristic", {"candidates": 4})
SMALLER = {
    "accuracy.templates": {"ENGINES": FEW, "WORDS": (3,)},
    "speed.joint": {"N": 2},
    "speed.soft_ensemble": {"N": 2},
    "speed.t5_templates": {"WIDTH": 128},
}


def benchmark(script):
    return importlib.import_module(f"benchmarks.{script}").BENCHMARK


def test_every_script_is_run_here():
    assert {f"benchmarks.{script}" for script in RUNS} == set(SCRIPTS)


@pytest.fixture
def in_this_process(saved_model, monkeypatch):
    """Commands that benchmarks start run here, with a tiny model."""
    script = importlib.import_module("benchmarks.speed.small_budget")

    def run(words, **how):
        result = CliRunner().invoke(main, [*words[1:], "--zero-shot", "--engine-arg", "candidates=4", "--top", "2"])
        assert result.exit_code == 0, result.output

    monkeypatch.setattr(script, "MODEL", saved_model("bert"))
    monkeypatch.setattr(script.subprocess, "run", run)


@pytest.fixture
def shrink(monkeypatch):
    """A function that makes the constants of a script smaller."""

    def smaller(script):
        for name, value in SMALLER.get(script, {}).items():
            monkeypatch.setattr(f"benchmarks.{script}.{name}", value)

    return smaller


@pytest.mark.filterwarnings(  # of random models and of few texts
    "ignore:label word", "ignore:.* prompts are longer", "ignore::UserWarning:sklearn"
)
@pytest.mark.parametrize("script", RUNS)
def test_a_benchmark_keeps_every_run_and_writes_a_page(script, small_models, in_this_process, data, tmp_path, shrink):
    own, n_runs = dataclasses.replace(benchmark(script), own_process=False), 0
    shrink(script)

    for words, n in RUNS[script]:
        words = [word.replace("DATA", str(data)) for word in words]
        own.main([*words, "--quick", "--results", str(tmp_path)])
        n_runs += n
        kept = json.loads((tmp_path / f"{own.name}.json").read_text(encoding="utf-8"))
        assert len(kept["runs"]) == n_runs

    page = (tmp_path / f"{own.name}.md").read_text(encoding="utf-8")
    title, *parts, note = page.strip().split("\n\n")
    assert title == f"# {own.title}" and kept["about"]["date"] in note
    tables = [part.splitlines() for part in parts if part.startswith("|")]
    assert tables
    for table in tables:
        assert len(table) > 2 and len({line.count("|") for line in table}) == 1


@pytest.mark.parametrize("script", RUNS)
def test_the_page_that_is_kept_follows_from_the_runs_that_are_kept(script):
    own = benchmark(script)

    assert own.text(own.kept(RESULTS).published()) == (RESULTS / f"{own.name}.md").read_text("utf-8")
