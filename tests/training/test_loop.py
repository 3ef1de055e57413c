from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn
from transformers.optimization import Adafactor

from promptlab.core.errors import DataError, TuningError
from promptlab.core.finished_work import Entry
from promptlab.core.seeding import seeded
from promptlab.models.trainable_model import TrainableModel
from promptlab.training.checkpoint import Checkpoint, Checkpoints
from promptlab.training.dev_score import DevScore
from promptlab.training.loop import train
from promptlab.training.optimizers import make_optimizer
from promptlab.training.run import TrainingRun
from promptlab.training.settings import TrainingSettings


class Line(TrainableModel):
    """Squared error of y = w x + b, with dropout so that random state matters."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 1)
        self.dropout = nn.Dropout(0.2)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch):
        x, y = batch
        return (self.head(self.dropout(x)) - y).square().mean()

    def loss_weights(self, batch):
        return torch.tensor(float(len(batch[0])))


class Slope(TrainableModel):
    """A loss with the same gradient everywhere, so that AdamW moves each weight by its rate at that step."""

    def __init__(self, gradient: float = -1.0) -> None:
        super().__init__()
        self.backbone, self.head = nn.Linear(1, 1), nn.Linear(1, 1)
        self.gradient = gradient
        for weight in self.parameters():
            nn.init.ones_(weight)

    def forward(self, batch):
        return self.gradient * sum(weight.sum() for weight in self.parameters())

    def loss_weights(self, batch):
        return torch.tensor(1.0)


DATA = [(float(x), 2.0 * x + 1.0) for x in range(-4, 5)]


def collate(rows):
    return tuple(torch.tensor([DATA[row][i] for row in rows])[:, None] for i in (0, 1))


def settings(**changes):
    defaults = {"learning_rate": 0.05, "head_learning_rate": 0.05, "max_steps": 40, "batch_size": 3, "device": "cpu"}
    return TrainingSettings(**{**defaults, "eval_every": 5, **changes})


def fit(model, evaluate=None, checkpoint=None, **changes):
    kept = checkpoint and Checkpoints(checkpoint)
    with seeded(0):
        return train(
            TrainingRun(model, range(9), collate, [1] * 9, settings(**changes), evaluate=evaluate, checkpoint=kept)
        )


def test_training_lowers_the_loss():
    history = fit(Line(), max_steps=200)

    assert history[-1]["loss"] < history[0]["loss"] / 3


def test_rows_are_shuffled_by_the_seed():
    def order(seed):
        seen = []
        train(
            TrainingRun(
                Line(),
                range(9),
                lambda rows: seen.append(rows) or collate(rows),
                [1] * 9,
                settings(seed=seed, max_steps=3),
            )
        )
        return seen[:3]

    assert order(1) == order(1)
    assert order(1) != order(0)
    assert sorted(row for rows in order(1) for row in rows) == list(range(9))


def test_exactly_the_steps_asked_for_are_made():
    history = fit(Line(), max_steps=17)

    assert [entry["step"] for entry in history] == [5, 10, 15, 17]


def test_the_latest_weights_within_one_standard_error_of_the_highest_dev_accuracy_are_kept():
    model, seen = Line(), []
    # the standard error of 0.8 on 16 examples is 0.1
    scores = iter([DevScore(0.5, 1.0, 16), DevScore(0.8, 1.0, 16), DevScore(0.71, 1.0, 16), DevScore(0.69, 1.0, 16)])

    def evaluate():
        seen.append(model.head.weight.item())
        return next(scores)

    fit(model, evaluate, max_steps=20)

    assert len(set(seen)) == 4
    assert model.head.weight.item() == seen[2]


def test_on_many_dev_examples_the_highest_accuracy_is_kept():
    model, seen = Line(), []
    scores = iter([DevScore(0.80, 1.0, 10_000), DevScore(0.82, 1.0, 10_000), DevScore(0.81, 1.0, 10_000)])

    def evaluate():
        seen.append(model.head.weight.item())
        return next(scores)

    fit(model, evaluate, max_steps=15)

    assert model.head.weight.item() == seen[1]


def test_adafactor_moves_a_weight_by_the_rate_whatever_its_scale():
    model = Line().eval()
    optimizer = make_optimizer(model, settings(optimizer="adafactor", weight_decay=0.0, learning_rate=0.3))
    for group in optimizer.param_groups:
        group["lr"] = 0.3
    loss = 1000 * (model.head.bias - 5).square().sum()
    loss.backward()
    optimizer.step()

    # the first update is the gradient's sign: g / sqrt(g^2); parameter scaling would have made it 0.3 * 1e-3
    assert model.head.bias.item() == pytest.approx(0.3, rel=1e-4)


@pytest.mark.parametrize(
    ("accuracies", "last"),
    [([0.9, 0.5, 0.5, 0.5, 0.5], 20), ([0.5, 0.4, 0.4, 0.6, 0.4, 0.4, 0.4, 0.4], 35)],  # an improvement starts anew
)
def test_training_stops_early_when_dev_does_not_improve(accuracies, last):
    scores = iter(DevScore(accuracy, 0.0, 32) for accuracy in accuracies)

    history = fit(Line(), lambda: next(scores), patience=3)

    assert [entry["step"] for entry in history] == list(range(5, last + 1, 5))


def test_training_goes_on_in_training_mode_after_an_evaluation():
    model, modes = Line(), []
    model.register_forward_hook(lambda *_: modes.append(model.dropout.training))

    def evaluate():
        model.eval()
        return DevScore(1.0, 0.0, 8)

    fit(model, evaluate, max_steps=10)

    assert modes == [True] * 10


@pytest.mark.parametrize(
    ("optimizer", "more"),
    [
        (torch.optim.AdamW, {}),
        (torch.optim.AdamW, {"gradient_accumulation_steps": 2}),  # 3 batches an epoch: its second update has one
        (Adafactor, {"optimizer": "adafactor"}),
    ],
)
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path, optimizer, more):
    whole, half, rest = Line(), Line(), Line()
    fit(whole, **more)
    original = optimizer.step
    calls = {"n": 0}

    def failing(self, *args, **kwargs):
        calls["n"] += 1
        if calls["n"] == 23:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    optimizer.step = failing
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(half, checkpoint=tmp_path / "run", **more)
    finally:
        optimizer.step = original
    fit(rest, checkpoint=tmp_path / "run", **more)

    assert torch.equal(rest.head.weight, whole.head.weight)
    assert torch.equal(rest.head.bias, whole.head.bias)


def test_an_interrupted_run_remembers_its_best_weights_its_record_and_how_long_dev_did_not_improve(tmp_path):
    model, best = Line(), []
    accuracies = iter([0.5, 0.9, 0.1, None, 0.1, 0.1])  # best at step 10; interrupted at 20, where 15 is the last saved

    def evaluate():
        accuracy = next(accuracies)
        if accuracy is None:
            raise KeyboardInterrupt
        if accuracy == 0.9:
            best.append(model.head.weight.item())
        return DevScore(accuracy, 1.0, 100)

    with pytest.raises(KeyboardInterrupt):
        fit(model, evaluate, checkpoint=tmp_path / "run", patience=3)
    model = Line()
    history = fit(model, evaluate, checkpoint=tmp_path / "run", patience=3)

    assert [(entry["step"], entry["dev_accuracy"]) for entry in history] == [
        (5, 0.5), (10, 0.9), (15, 0.1), (20, 0.1), (25, 0.1),
    ]  # fmt: skip
    assert [model.head.weight.item()] == best


def weights_of(model):
    return [weight.tolist() for weight in model.parameters()]


@pytest.mark.parametrize("patience", [2, None])
def test_a_run_that_ended_trains_no_further_when_repeated(tmp_path, patience):
    def worse_and_worse():
        accuracies = iter(range(90, 0, -10))
        return lambda: DevScore(next(accuracies) / 100, 1.0, 100)

    ended, again, third = Line(), Line(), Line()
    history = fit(ended, worse_and_worse(), checkpoint=tmp_path / "run", patience=patience)

    assert history[-1]["step"] == (15 if patience else 40)
    for model in (again, third):
        assert fit(model, worse_and_worse(), checkpoint=tmp_path / "run", patience=patience) == history
        assert weights_of(model) == weights_of(ended)


@pytest.mark.parametrize("n_saves", [1, 2, 3])  # with a patience of 2 the run ends after the third
def test_a_run_that_is_killed_right_after_a_save_ends_where_an_uninterrupted_one_does(tmp_path, monkeypatch, n_saves):
    accuracies = [0.9, 0.5, 0.4, 0.3, 0.2, 0.1]

    def scores(done=0):
        rest = iter(accuracies[done:])
        return lambda: DevScore(next(rest), 1.0, 100)

    whole, killed, rest, saves = Line(), Line(), Line(), []
    history = fit(whole, scores(), patience=2)
    save = Checkpoint.save

    def saving(self, step):
        save(self, step)
        saves.append(step)
        if len(saves) == n_saves:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", saving)
    with pytest.raises(KeyboardInterrupt):
        fit(killed, scores(), checkpoint=tmp_path / "run", patience=2)
    monkeypatch.setattr(Checkpoint, "save", save)

    assert fit(rest, scores(n_saves), checkpoint=tmp_path / "run", patience=2) == history
    assert weights_of(rest) == weights_of(whole)


def test_a_file_is_no_folder_of_checkpoints(tmp_path):
    (tmp_path / "run").write_text("mine")

    with pytest.raises(DataError, match="is a file; choose a folder"):
        fit(Line(), checkpoint=tmp_path / "run")


def test_other_files_in_the_folder_of_checkpoints_stay(tmp_path):
    (tmp_path / "config.json").write_text("mine")

    fit(Line(), checkpoint=tmp_path)
    fit(Line(), checkpoint=tmp_path, max_steps=20)

    assert (tmp_path / "config.json").read_text() == "mine"
    assert len(states(tmp_path)) == 2


def test_a_checkpoint_of_version_0_1_is_told_and_left_alone(tmp_path):
    for name in ("state.json", "state.safetensors"):
        (tmp_path / name).write_text("{}")

    with pytest.raises(DataError, match=r"work of promptlab 0\.1 \(state\.safetensors\), .*; delete it, or choose"):
        fit(Line(), checkpoint=tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.json", "state.safetensors"]


def test_a_loss_that_is_no_number_ends_the_training(tmp_path):
    model = Line()
    model.head.weight.data.fill_(float("nan"))

    with pytest.raises(TuningError, match="loss at update 5 isn't a number any more; lower learning_rate"):
        fit(model)


def states(folder):
    return sorted(folder.glob("runs/*.safetensors"))


def test_each_run_has_a_checkpoint_of_its_own(tmp_path):
    whole = {steps: fit(Line(), max_steps=steps) for steps in (40, 50)}

    for steps in (40, 50, 40):
        assert fit(Line(), checkpoint=tmp_path, max_steps=steps) == whole[steps]
    fit(Slope(), checkpoint=tmp_path)

    assert len(states(tmp_path)) == 3


def test_a_damaged_checkpoint_is_named(tmp_path):
    fit(Line(), checkpoint=tmp_path)
    states(tmp_path)[0].write_bytes(b"x")

    with pytest.raises(DataError, match=r"\.safetensors' can't be read .* delete it and run again"):
        fit(Line(), checkpoint=tmp_path)


def test_a_checkpoint_that_was_put_in_the_place_of_another_is_named(tmp_path):
    fit(Line(), checkpoint=tmp_path)
    (first,) = states(tmp_path)
    fit(Line(), checkpoint=tmp_path, max_steps=20)
    (other,) = set(states(tmp_path)) - {first}
    other.write_bytes(first.read_bytes())

    with pytest.raises(DataError, match=r"was written for the run .*; delete it"):
        fit(Line(), checkpoint=tmp_path, max_steps=20)


def test_the_scale_of_the_loss_in_half_precision_comes_back(tmp_path):
    def checkpoint():
        model, scaler = Line(), torch.amp.GradScaler("cpu")
        optimizer = torch.optim.AdamW(model.parameters())
        return Checkpoint(model, optimizer, scaler=scaler, entry=Entry(tmp_path / "run.safetensors"))

    one, other = checkpoint(), checkpoint()
    one.scaler.scale(torch.ones(()))
    one.scaler.update(8.0)
    one.save(3)

    assert other.load() == 3
    assert other.scaler.scale(torch.ones(())).item() == 8.0


def changed(what):
    """A run that differs in one thing from the usual one."""
    model, rows, read, plan, depends_on = Line(), range(9), collate, settings(), ("tuning", [0, 1])
    if what == "a weight":
        model.head.weight.data.fill_(1e-6)
    elif what == "a frozen weight":
        model.frozen = nn.Linear(1, 1).requires_grad_(False)
        model.frozen.weight.data.fill_(2.0)
    elif what == "which weights are frozen":
        model.head.bias.requires_grad_(False)
    elif what == "a setting of a layer":
        model.dropout.p = 0.3
    elif what == "a setting of its own":
        model.temperature = 2.0
    elif what == "fewer rows":
        rows = range(8)
    elif what == "the order of the rows":
        rows = range(8, -1, -1)
    elif what == "a target":
        read = lambda rows: tuple(part + 1.0 * (number == 1) for number, part in enumerate(collate(rows)))  # noqa: E731
    elif what == "a setting of the training":
        plan = settings(weight_decay=0.02)
    elif what == "the seed":
        plan = settings(seed=1)
    elif what == "what it depends on beside":
        depends_on = ("tuning", [0, 2])
    with seeded(1 if what == "the random state" else 0):
        train(TrainingRun(model, rows, read, [1] * len(rows), plan, checkpoint=Checkpoints(changed.folder, depends_on)))


CHANGES = (
    "a weight", "a frozen weight", "which weights are frozen", "a setting of a layer", "a setting of its own",
    "fewer rows", "the order of the rows", "a target", "a setting of the training", "the seed",
    "what it depends on beside", "the random state",
)  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_a_result_depends_on_makes_another_run(tmp_path, what):
    changed.folder = tmp_path
    changed("nothing")
    changed("nothing")
    usual = states(tmp_path)
    changed(what)

    assert (len(usual), len(states(tmp_path))) == (1, 2)


@pytest.mark.parametrize("limit", [1e9, 1e-8])  # of the whole update, not of each small batch
def test_accumulated_small_batches_are_one_large_batch(limit):
    small, large = Line().eval(), Line().eval()
    small.train = large.train = lambda mode=True: None  # no dropout

    fit(small, batch_size=3, gradient_accumulation_steps=3, max_steps=4, max_grad_norm=limit)
    fit(large, batch_size=9, max_steps=4, max_grad_norm=limit)

    assert small.head.weight.item() == pytest.approx(large.head.weight.item(), abs=1e-6)


def test_small_batches_of_different_sizes_are_one_large_batch():
    small, large = Line().eval(), Line().eval()
    small.train = large.train = lambda mode=True: None  # no dropout

    history = fit(small, batch_size=4, gradient_accumulation_steps=3, max_steps=4, eval_every=1)  # 4, 4 and 1 rows
    fit(large, batch_size=9, max_steps=4)

    assert small.head.weight.item() == pytest.approx(large.head.weight.item(), abs=1e-6)
    assert history[0]["loss"] == pytest.approx(sum((2 * x + 1) ** 2 for x in range(-4, 5)) / 9)


class Pulled(TrainableModel):
    """Two sums of weighted means: pulls ``a`` towards the rows' values, and ``b`` towards twice some of them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(-1.0))

    def forward(self, rows):
        first, second = rows.square(), (rows > 2).float()
        losses = torch.stack([(self.a - rows).square(), (self.b - 2 * rows).square()])
        weights = torch.stack([first, second])
        return (losses * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)

    def loss_weights(self, rows):
        return torch.stack([rows.square().sum(), (rows > 2).float().sum()])


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 5])  # 5, 3, 2, 2 and 1 batches an update, the last ones smaller
def test_an_update_is_the_weighted_mean_over_all_of_its_batches(monkeypatch, batch_size):
    model, values = Pulled(), [0.0, 1.0, 2.0, 3.0, 5.0]  # the first batch of an update may weigh nothing
    seen = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW, "step", lambda self, *a: seen.append((model.a.grad, model.b.grad)) or step(self, *a)
    )
    n = -(-5 // batch_size)
    once = settings(max_steps=1, batch_size=batch_size, gradient_accumulation_steps=n, max_grad_norm=1e9)

    (record,) = train(
        TrainingRun(model, range(5), lambda rows: torch.tensor([values[row] for row in rows]), [1] * 5, once)
    )

    # sums over 0, 1, 2, 3, 5: of squares 39, of cubes 161, of fourth powers 723; 3 and 5 pull b
    a, b = 2 * (1 - 161 / 39), ((-1 - 6) * 2 + (-1 - 10) * 2) / 2
    assert [grad.item() for grad in seen[-1]] == pytest.approx([a, b], rel=1e-5)
    loss = sum(v * v * (1 - v) ** 2 for v in values) / 39 + ((-1 - 6) ** 2 + (-1 - 10) ** 2) / 2
    assert record["loss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("accumulation", [1, 2, 3, 4])
def test_an_epoch_shows_every_row_once_however_many_batches_make_an_update(accumulation):
    seen, per_epoch = [], -(-5 // accumulation)  # 9 rows in batches of 2

    def noting(rows):
        seen.append(rows)
        return collate(rows)

    plan = settings(batch_size=2, gradient_accumulation_steps=accumulation, max_steps=3 * per_epoch)
    train(TrainingRun(Line(), range(9), noting, [1] * 9, plan))

    for epoch in range(3):
        assert sorted(row for rows in seen[5 * epoch : 5 * (epoch + 1)] for row in rows) == list(range(9))


def test_gradients_above_the_limit_are_scaled_down():
    free, clipped = Line(), Line()

    fit(free, max_steps=1, max_grad_norm=1e9)
    fit(clipped, max_steps=1, max_grad_norm=1e-12)  # far below AdamW's epsilon, so that the step shrinks too

    assert abs(clipped.head.weight.item()) < 0.01 * abs(free.head.weight.item())


def test_parts_that_share_no_weight_are_clipped_each_by_itself():
    model, limit = Slope(), 2**0.5 * 1e-8  # of a part with two gradients of 1, which become 1e-8, AdamW's epsilon

    once = settings(max_steps=1, warmup_ratio=0.0, weight_decay=0.0, max_grad_norm=limit)
    train(TrainingRun(model, range(9), collate, [1] * 9, once, separate=(model.backbone, model.head)))

    assert [weight.item() for weight in model.parameters()] == pytest.approx([1 + 0.05 * 0.5] * 4, abs=1e-5)


def test_each_update_uses_the_rate_of_its_step():
    model, seen = Slope(), [1.0]

    def evaluate():
        seen.append(model.head.weight.item())
        return DevScore(1.0, 0.0, 8)

    fit(model, evaluate, max_steps=5, warmup_ratio=0.4, weight_decay=0.0, head_learning_rate=0.1, eval_every=1)

    steps = [after - before for before, after in pairwise(seen)]
    assert steps == pytest.approx([0.1 / 3, 0.2 / 3, 0.1, 0.2 / 3, 0.1 / 3], rel=1e-4)


def test_the_model_and_what_is_added_to_it_have_rates_of_their_own():
    model = Slope()

    fit(model, max_steps=1, warmup_ratio=0.0, weight_decay=0.0, learning_rate=0.01, head_learning_rate=0.3)

    assert (model.backbone.weight.item(), model.backbone.bias.item()) == pytest.approx((1.01, 1.01))
    assert (model.head.weight.item(), model.head.bias.item()) == pytest.approx((1.3, 1.3))


def test_matrices_are_decayed_by_their_rate_and_vectors_are_not():
    model = Slope(gradient=0.0)

    fit(model, max_steps=2, warmup_ratio=0.0, weight_decay=0.5, learning_rate=0.1, head_learning_rate=0.2)

    # the rate is halved for the second of two updates
    assert model.backbone.weight.item() == pytest.approx((1 - 0.1 * 0.5) * (1 - 0.05 * 0.5))
    assert model.head.weight.item() == pytest.approx((1 - 0.2 * 0.5) * (1 - 0.1 * 0.5))
    assert model.backbone.bias.item() == model.head.bias.item() == 1.0
