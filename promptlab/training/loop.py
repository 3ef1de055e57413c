"""The training loop."""

from __future__ import annotations

from torch import Tensor
from tqdm.auto import tqdm

from promptlab.training.accelerator import make_accelerator
from promptlab.training.batching import LengthBatches, endless
from promptlab.training.checkpoint import Checkpoint
from promptlab.training.optimizers import make_optimizer, set_rates
from promptlab.training.run import TrainingRun
from promptlab.training.updates import mean_loss, update


def train(run: TrainingRun) -> list[dict[str, float]]:
    """Train the model of a run and leave it with its best weights by dev score.

    The loss of an update is the weighted mean over all that it sees, in one batch or several; see ``updates.update``.

    Returns:
        One record per evaluation: step, loss since the last one, and the dev score if there is one.
    """
    model, settings = run.model, run.settings
    accelerator = make_accelerator(settings)
    entry = run.checkpoint_entry(accelerator.num_processes)  # found before anything is changed
    batches = LengthBatches(run.lengths, settings.batch_size, settings.seed)
    loader = accelerator.prepare(run.loader(batches))
    optimizer = make_optimizer(model, settings)
    network, fast_optimizer = accelerator.prepare(model, optimizer)
    accelerator.sync_gradients = True  # each step of the optimizer is an update
    state = Checkpoint(model, optimizer, scaler=accelerator.scaler, entry=entry)
    step = state.load()
    bar = tqdm(total=settings.max_steps, initial=step, desc="training", unit="step", leave=False, disable=None)
    losses: list[Tensor] = []
    network.train()
    for some in endless(loader, batches, size=settings.gradient_accumulation_steps, start=step):
        if step >= settings.max_steps or (settings.patience is not None and state.stale >= settings.patience):
            break
        set_rates(optimizer, step, settings)
        seen = [model.prepare(batch) for batch in some]
        loss = update(
            accelerator, model, network, fast_optimizer, seen, limit=settings.max_grad_norm, separate=run.separate
        )
        losses.append(loss)
        step += 1
        bar.update()
        if step % settings.eval_every == 0 or step == settings.max_steps:
            score = run.dev_score(network)
            state.record(step, mean_loss(losses, step, settings), score)
            losses.clear()
            if accelerator.is_main_process:
                state.save(step)
    bar.close()
    accelerator.unwrap_model(network, keep_fp32_wrapper=False)
    vars(model).pop("forward", None)  # accelerate's, under which the loss would go on in the training's precision
    state.restore_best()
    return state.history
