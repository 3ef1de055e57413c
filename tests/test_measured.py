"""What docs/measured.md says of its tables is computed again from the runs that are kept."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MEASURED = " ".join((ROOT / "docs" / "measured.md").read_text(encoding="utf-8").split())
SEEDS = (13, 21, 42, 87, 100)
RATES = ("0.0004", "0.0008")  # LoRA's, and the one that it had on minilm


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
    """What the constant rates rest on: at five times the width they move within a factor of 1.6."""
    runs = runs_of("widths")
    rates = {"lora": "0.0004", "adapter": "0.0004", "ia3": "0.012", "bitfit": "0.004", "layer-norm": "0.004"}

    def moved(width):
        place = f"{method}/{width}/{rates[method]}"
        return mean(runs, place, lambda run: run["states_moved"], seeds=range(3))

    for width in (1024, 2048):
        assert 1 / 1.6 < moved(width) / moved(384) < 1.6


def test_full_fine_tuning_profits_from_a_rate_that_stops_falling():
    runs = runs_of("widths")
    floor, square = (mean(runs, f"full/2048/{rate}", seeds=range(3)) for rate in ("1e-05", "3.5e-06"))

    assert f"(2,048 wide: {floor:.1f} instead of {square:.1f})" in MEASURED


def test_loras_rate_is_even_on_minilm_with_the_one_before():
    """On rows of the pools; differences of single splits are up to 5 points."""
    accuracy = runs_of("defaults")
    gains = {task: _gain(accuracy, task) for task in TASKS}

    assert abs(statistics.mean(gains.values())) < 0.5
    said = f"{gains['sst2']:+.1f} points on SST-2, {gains['trec']:+.1f} on TREC and {gains['ag_news']:+.1f} on AG News"
    assert said in MEASURED


def _gain(accuracy, task):
    """Of 4e-4 over 8e-4, in points, over the splits on which both ran."""
    new, old = ({seed: accuracy.get(f"rates/{task}/lora/{rate}/default/{seed}") for seed in SEEDS} for rate in RATES)
    both = [seed for seed in SEEDS if new[seed] is not None and old[seed] is not None]
    return 100 * statistics.mean(new[seed] - old[seed] for seed in both)


def test_rates_that_fall_with_the_square_of_the_width_leave_wide_models_at_chance():
    runs = runs_of("widths")
    rates = {"lora": 2e-4, "adapter": 1e-4, "ia3": 3e-3, "bitfit": 1e-3, "layer-norm": 1e-3}  # at width 768
    for method, rate in rates.items():
        for width in (1024, 2048):
            assert 45 < mean(runs, f"{method}/{width}/{rate * (768 / width) ** 2:.2g}", seeds=range(3)) < 55
    assert "leave models 1,024 and 2,048 wide where they were, at chance" in MEASURED


DRAWS = [(task, size, seed) for task in ("sst-2", "ag_news") for size in (10, 50, 100) for seed in SEEDS]


def ensembles():
    """Draw → method → test accuracy in %."""
    found = {draw: {} for draw in DRAWS}
    for key, run in runs_of("ensembles").items():
        task, size, seed, _ = key.split("/")
        found[task, int(size), int(seed)] |= {name: 100 * value for name, value in run["accuracies"].items()}
    return found


def gains(one, other):
    """Of one method over another, of each draw, and the mean over the draws of each (task, size)."""
    runs = {draw: row for draw, row in ensembles().items() if {one, other} <= set(row)}
    each = {draw: row[one] - row[other] for draw, row in runs.items()}
    columns = {draw[:2] for draw in runs}
    return each, {c: statistics.mean(gain for draw, gain in each.items() if draw[:2] == c) for c in columns}


UNIFORM = "ensemble, uniform"


def test_the_ensemble_is_ahead_of_its_mean_member_in_every_draw_by_as_much_as_said():
    each, _ = gains(UNIFORM, "mean member")

    assert len(each) == 30 and min(each.values()) > 0
    assert (
        f"the ensemble is better than its mean member ({min(each.values()):.1f} to {max(each.values()):.1f}" in MEASURED
    )


def test_students_gain_on_the_ensemble_what_is_said():
    each, column = gains("PET", UNIFORM)
    below = sorted(gain for gain in each.values() if gain < 0)

    assert f"gains {column['sst-2', 10]:.1f} (SST-2) and {column['ag_news', 10]:.1f} points (AG News)" in MEASURED
    assert (
        f"with 50 and 100 it gains {column['sst-2', 50]:.1f} and {column['sst-2', 100]:.1f} on SST-2 and is even on AG "
        f"News ({column['ag_news', 50]:.1f} and {column['ag_news', 100]:.1f})" in MEASURED
    )
    assert len(below) == 5
    assert (
        f"below the ensemble in five of 30 draws, four times by {-below[1]:.1f} at most and once by {-below[0]:.1f}"
        in MEASURED
    )


def test_teaching_one_another_adds_what_is_said():
    _, column = gains("iPET", "PET")

    said = "add {:.1f} and {:.1f} points to PET with ten labels, {:.1f} and {:.1f} with 50, {:.1f} and {:.1f} with 100"
    assert said.format(*(column[t, n] for n in (10, 50, 100) for t in ("sst-2", "ag_news"))) in MEASURED


def test_stacking_is_worse_than_equal_weights_in_every_column():
    _, column = gains("ensemble, stacked", UNIFORM)

    assert len(column) == 6 and max(column.values()) < 0
    assert "is worse than equal weights in every column" in MEASURED


def test_one_prompts_labels_teach_less_as_said():
    each, column = gains("one prompt's labels", "PET")
    first, *others = sorted(column.values())

    assert column["sst-2", 10] == first and max(others) < 0
    assert (
        f"below PET in every column, by {-first:.1f} points on SST-2 with ten labels and by {-max(others):.1f} to "
        f"{-min(others):.1f} elsewhere (below it in {sum(gain < 0 for gain in each.values())} of 30 draws)" in MEASURED
    )


def test_masked_words_change_what_is_said():
    each, column = gains("PET, masked words", "PET")
    sst2, ag_news = ([each[task, 10, seed] for seed in SEEDS] for task in ("sst-2", "ag_news"))

    assert (
        f"{column['sst-2', 10]:.1f} points more on SST-2 and {-column['ag_news', 10]:.1f} less on AG News, mostly for "
        f"one draw each ({max(sst2):.1f} and {min(ag_news):.1f})" in MEASURED
    )


def templates(kind, task, engine):
    return mean(runs_of("templates"), f"{kind}/{task}/{engine}")


def test_no_search_of_sixteen_examples_reaches_the_library_but_autoprompts_on_ag_news():
    engines = ("heuristic", "autoprompt", "masked-lm (minilm)", "lm (smollm2)")
    behind = {
        (task, engine): templates("zero-shot", task, "library") - templates("zero-shot", task, engine)
        for task in ("sst2", "ag_news")
        for engine in engines
    }
    ahead = behind.pop(("ag_news", "autoprompt"))

    assert -1.5 < ahead < 0 and min(behind.values()) > 0
    said = f"by {min(behind.values()):.1f} to {max(behind.values()):.1f} points, save AutoPrompt's on AG News"
    assert said in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    own, *near, far = (templates("zero-shot", "ag_news", engines[i]) for i in (1, 3, 0, 2))
    assert f"better than it ({own:.1f}), smollm2's ({near[0]:.1f}) and rules ({near[1]:.1f}) come near it" in MEASURED
    assert f"minilm's own templates don't ({far:.1f})" in MEASURED


def test_what_the_pool_gives_is_as_said_and_its_words_are_one_search():
    runs, pool = runs_of("templates"), "autoprompt (pool), great / terrible"
    words = [key for key in runs if key.startswith("zero-shot/sst2/library, label words from the pool/")]
    one_word = templates("zero-shot", "sst2", "library, great / terrible")
    splits = [100 * runs[f"zero-shot/sst2/{pool}/{seed}"]["accuracy"] - one_word for seed in SEEDS]

    assert len(words) == 1
    found, own = 100 * runs[words[0]]["accuracy"], templates("zero-shot", "sst2", "library")
    assert f"to {found:.1f}, from {one_word:.1f} (great / terrible) and {own:.1f} (its own five words)" in MEASURED
    assert f"from {one_word:.1f} to {templates('zero-shot', 'sst2', pool):.1f} in eight steps" in MEASURED
    assert sum(2.5 < gain < 6.5 for gain in splits) == 3 and sum(abs(gain) < 1 for gain in splits) == 2


def test_a_pretrained_prompt_is_ahead_of_other_starts_and_behind_the_prompt_that_labeled_its_text():
    started = {start: mean(runs_of("ppt"), f"sst2/{start}") for start in ("random", "vocabulary", "pre-trained")}
    zero_shot = templates("zero-shot", "sst2", "library")

    best = started["pre-trained"]
    assert best < zero_shot
    assert (
        f"ends at {best:.1f}, below the zero-shot prompt that labeled its pre-training text ({zero_shot:.1f})"
        in MEASURED
    )
    gain = [best - started[start] for start in ("vocabulary", "random")]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"gain {gain[0]:.1f} to {gain[1]:.1f} points over other starts" in readme


FEW_SHOT = [(task, k) for task in ("ag_news", "dbpedia", "imdb", "trec") for k in (1, 4, 16)]


def few_shot_means(name, like=None):
    """Data set, examples a class → mean accuracy in %; of the draws that another row has, too, where one is named."""
    runs, means = runs_of("verbalizers"), {}
    for task, k in FEW_SHOT:
        seeds = [seed for seed in SEEDS if like is None or f"few-shot/{task}/{k}/{like}/{seed}" in runs]
        if any(f"few-shot/{task}/{k}/{name}/{seed}" in runs for seed in seeds):
            means[task, k] = mean(runs, f"few-shot/{task}/{k}/{name}", seeds=seeds)
    return means


def test_kpts_words_do_without_training_what_is_said():
    runs = runs_of("verbalizers")
    zero = {
        (task, row, kind): 100 * runs[f"zero-shot/{task}/{row}/{kind}"]["accuracy"]
        for task in ("ag_news", "dbpedia", "trec")
        for row in ("manual", "+ frequency + relevance")
        for kind in ("plain", "calibrated")
    }
    refined = {task: zero[task, "+ frequency + relevance", "calibrated"] for task in ("ag_news", "dbpedia", "trec")}

    names, alone = zero["ag_news", "manual", "plain"], zero["ag_news", "manual", "calibrated"]
    assert f"class names ({names:.1f} to {refined['ag_news']:.1f}; calibration alone: {alone:.1f})" in MEASURED
    gains = [
        x - zero["dbpedia", "manual", "plain"] for x in (refined["dbpedia"], zero["dbpedia", "manual", "calibrated"])
    ]
    assert f"On DBpedia they add {gains[0]:.0f} points (calibration alone: {gains[1]:.0f})" in MEASURED
    assert f"on TREC cost {zero['trec', 'manual', 'plain'] - refined['trec']:.1f}" in MEASURED
    assert "have 79.3 there without either" in MEASURED
    assert "| zero-shot prompt | 78.0 (0.0) | 34.6 (0.0) | 79.3 (0.0) |" in MEASURED


def test_the_verbalizers_of_a_frozen_model_rank_as_is_said():
    rows = {n: few_shot_means(f"{n}, model frozen") for n in ("KPT", "ProtoVerb", "ProtoVerb + manual", "soft")}
    earlier = few_shot_means("ProtoVerb + manual, by z-scores, model frozen", like="ProtoVerb + manual, model frozen")

    assert [place for place in FEW_SHOT if rows["KPT"][place] <= rows["ProtoVerb"][place]] == [("trec", 16)]
    assert max(row["trec", 16] for row in rows.values()) == rows["ProtoVerb + manual"]["trec", 16]
    assert max(row["dbpedia", 16] for row in rows.values()) == rows["soft"]["dbpedia", 16]
    gains = {place: rows["ProtoVerb + manual"][place] - earlier[place] for place in FEW_SHOT}
    others = [gain for (task, _), gain in gains.items() if task != "trec"]
    assert f"gains {min(others):.0f} to {max(others):.0f} points on AG News, DBpedia and IMDB" in MEASURED
    assert f"loses at most {-min(gain for (task, _), gain in gains.items() if task == 'trec'):.1f} on TREC" in MEASURED


def test_word_weights_beside_a_trained_model_do_what_is_said():
    runs, now = runs_of("verbalizers"), few_shot_means("KPT")
    before = few_shot_means("KPT's words, nearly alike", like="KPT")
    weights = [run["largest_weight"] for key, run in runs.items() if "/KPT/" in key]

    assert {task for task, _ in now} == {"trec", "ag_news"}
    assert f"they reach {min(weights):.1f} to {max(weights):.1f}" in MEASURED
    said = {1: (43.7, 42.6), 4: (62.2, 60.5), 16: (77.5, 74.7)}
    for k, pair in said.items():
        assert (now["trec", k], before["trec", k]) == pytest.approx(pair, abs=0.06)
        assert f"{pair[0]} against {pair[1]}" in MEASURED
    gains = {place: now[place] - before[place] for place in now}
    trec, ag_news = ([gain for (task, _), gain in gains.items() if task == one] for one in ("trec", "ag_news"))
    assert f"{min(trec):.0f} to {max(trec):.0f} points to words that count nearly alike" in MEASURED
    assert (min(ag_news), max(ag_news)) == pytest.approx((-0.6, -0.15), abs=0.01)
    assert "they are up to 0.6 below them" in MEASURED


def test_protoverb_beside_a_trained_model_is_where_z_scores_left_it():
    now = few_shot_means("ProtoVerb + manual")
    before = few_shot_means("ProtoVerb + manual, by z-scores", like="ProtoVerb + manual")

    assert set(now) == {(task, k) for task in ("ag_news", "trec") for k in (1, 4)}
    assert max(abs(now[place] - before[place]) for place in now) == pytest.approx(1.15, abs=0.01)
    assert "within 1.2 points of what it was by z-scores" in MEASURED


def test_verbalizers_of_a_trained_model_are_as_near_as_is_said():
    rows = {
        n: few_shot_means(n) for n in ("manual", "soft", "KPT's words, nearly alike", "ProtoVerb + manual, by z-scores")
    }
    alike, manual = rows["KPT's words, nearly alike"], rows["manual"]

    for task in ("ag_news", "dbpedia", "imdb", "trec"):
        ends = [row[task, 16] for row in rows.values()]
        assert max(ends) - min(ends) < 2
    assert [place for place in FEW_SHOT if place[1] < 16 and alike[place] <= manual[place]] == [("dbpedia", 4)]


def test_estimates_of_searches_are_near_test_and_accuracies_on_dev_are_not():
    runs = [run for key, run in runs_of("templates").items() if key.startswith("choice/sst2/")]
    dev, estimate, test = (100 * statistics.mean(run[what] for run in runs) for what in ("dev", "estimate", "test"))
    above = sum(run["dev"] > run["test"] for run in runs)

    assert dev - test > 5 and abs(estimate - test) < 2
    assert (
        f"over the {len(runs)} searches on SST-2 it is {dev:.1f} in the mean, on test {test:.1f}, and above test in "
        f"{above} of them" in MEASURED
    )
    assert f"on the fourth, is {estimate:.1f} in the mean" in MEASURED
