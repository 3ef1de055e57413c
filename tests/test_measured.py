"""What docs/measured.md says of its tables is computed again from the runs that are kept."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MEASURED = " ".join((ROOT / "docs" / "measured.md").read_text(encoding="utf-8").split())
SEEDS = (13, 21, 42, 87, 100)


def runs_of(name):
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))["runs"]


def mean(runs, place, value=lambda run: run["accuracy"], seeds=SEEDS):
    """In %, over the seeds that have run."""
    return 100 * statistics.mean(value(runs[f"{place}/{seed}"]) for seed in seeds if f"{place}/{seed}" in runs)


def test_the_best_rates_of_the_grid_are_those_named():
    runs = runs_of("grid")
    settings = {key.rsplit("/", 1)[0] for key in runs if key.count("/") == 4}

    def best(task, method):
        own = [setting for setting in settings if setting.startswith(f"{task}/{method}/")]
        return max(own, key=lambda setting: mean(runs, setting)).split("/")[2:]

    found = {(task, method): best(task, f"{method} fine-tuning") for task in TASKS for method in ("head", "prompt")}

    said = (
        f"A head is best at {rate(found['sst2', 'head'])} on SST-2, {rate(found['ag_news', 'head'])} on AG News and "
        f"{rate(found['trec', 'head'])} on TREC, a prompt at {rate(found['sst2', 'prompt'])}, "
        f"{rate(found['ag_news', 'prompt'])} and {rate(found['trec', 'prompt'])}"
    )
    assert said in MEASURED


TASKS = ("sst2", "ag_news", "trec")


def rate(setting):
    return f"{float(setting[0]):.0e}".replace("e-0", "e-")


def test_a_prompts_low_rates_differ_by_less_than_said():
    runs = runs_of("grid")
    for task in ("sst2", "ag_news"):
        means = [
            mean(runs, f"{task}/prompt fine-tuning/{rate}/{steps}")
            for rate in ("1e-05", "3e-05", "0.0001")
            for steps in (100, 300)
        ]
        assert max(means) - min(means) < 2
    assert "from 1e-5 to 1e-4 its settings differ by less than 2 points on SST-2 and AG News" in MEASURED


def tuned(task, method):
    return mean(runs_of("tuning"), f"minilm/{task}/{method}")


def methods(task):
    return sorted({key.split("/")[2] for key in runs_of("tuning") if key.startswith(f"minilm/{task}/")})


UNTRAINED = {"none (zero-shot)", "linear probe", "head, full"}
SOFT = {"prompt-tuning", "p-tuning (model frozen)"}  # nothing of the model changes


def test_no_tuning_method_beats_the_prompt_alone_on_sst2_by_more_than_its_spread():
    runs, zero = runs_of("tuning"), tuned("sst2", "none (zero-shot)")
    for method in methods("sst2"):
        values = [100 * runs[f"minilm/sst2/{method}/{seed}"]["accuracy"] for seed in SEEDS]
        assert statistics.mean(values) - zero <= statistics.stdev(values)
    assert f"no method beats the zero-shot prompt ({zero:.1f}) by more than its spread" in MEASURED


def test_what_methods_that_change_the_model_gain_on_ag_news_is_what_is_said():
    zero = tuned("ag_news", "none (zero-shot)")
    gains = [round(tuned("ag_news", m), 1) - round(zero, 1) for m in methods("ag_news") if m not in UNTRAINED | SOFT]

    assert f"every method that changes the model gains {min(gains):.1f} to {max(gains):.1f} points" in MEASURED


def test_what_is_forgotten_is_what_is_said():
    runs = runs_of("tuning")
    left = {
        method: mean(runs, f"minilm/sst2/{method}", lambda run: run["attached"]["ag_news"])
        for method in methods("sst2")
        if method not in UNTRAINED | SOFT
    }
    first, second, third = sorted(left, key=left.__getitem__)[:3]

    assert (first, second, third) == ("prefix (MLP)", "layer-norm", "bitfit")
    said = f"The prefix ({left[first]:.1f}), the norms ({left[second]:.1f}) and the biases ({left[third]:.1f})"
    assert f"{said} forget more of AG News than full fine-tuning ({left['full']:.1f})" in MEASURED
    added = [value for method, value in left.items() if method.startswith(("adapter", "lora", "ia3"))]
    assert f"adapters, LoRA and IA3 leave {min(added):.1f} to {max(added):.1f}" in MEASURED


@pytest.mark.parametrize("method", ["lora", "adapter", "ia3", "bitfit", "layer-norm"])
def test_at_one_rate_states_move_alike_at_widths_of_384_and_more(method):
    """What the constant rates rest on: a factor of 2.7 in width changes less than a factor of 1.5."""
    runs = runs_of("widths")
    rates = {"lora": "0.0004", "adapter": "0.0004", "ia3": "0.012", "bitfit": "0.004", "layer-norm": "0.004"}

    def moved(width, rate):
        return mean(runs, f"{method}/{width}/{rate}", lambda run: run["states_moved"], seeds=range(3))

    assert 1 / 1.5 < moved(1024, rates[method]) / moved(384, rates[method]) < 1.5


def test_rates_that_fall_with_the_square_of_the_width_leave_wide_models_at_chance():
    runs = runs_of("widths")
    old = {"lora": "0.00011", "adapter": "5.6e-05", "ia3": "0.0017", "bitfit": "0.00056", "layer-norm": "0.00056"}
    for method, rate in old.items():
        assert 45 < mean(runs, f"{method}/1024/{rate}", seeds=range(3)) < 55
    assert "leave a model of 1,024 where it was, at chance" in MEASURED
