"""Training from top to bottom: one function, `train`, whatever a network learns from.

A step divides its clips into groups (`pptsm.training.groups`), and each group first seeds its random states from (seed,
epoch, step, group). So a run that was killed goes on from the step that the last state holds, and ends with the same
weights, byte for byte, as one that was not; and any number of processes that share the groups trains the same network.

Shape legend: N clips per group, T frames, H/W pixels, K classes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TypeVar

import numpy as np
import paddle
import pandas as pd

from pptsm.data.clips import TrainingClips
from pptsm.data.loader import load_batches, normalise_on_device
from pptsm.distributed.ranks import Ranks
from pptsm.evaluation.metrics import accuracy
from pptsm.params.schema import Params
from pptsm.runtime.console import note, note_epoch, progress
from pptsm.runtime.cores import loader_processes
from pptsm.runtime.errors import UserError
from pptsm.training.accumulation import Accumulation
from pptsm.training.batchnorm import into_training, precise_batch_norm, prepare, statistics_are_due
from pptsm.training.checkpoint import Checkpoint, TrainState
from pptsm.training.epoch_metrics import EpochMetrics
from pptsm.training.eta import Forecast
from pptsm.training.groups import divided, number_of_groups
from pptsm.training.mixing import mix_clips
from pptsm.training.objectives import Objective, learn
from pptsm.training.optimizer import build_optimizer, scheduled_rate, take_step
from pptsm.training.precision import precision_of
from pptsm.training.run import Run
from pptsm.training.state_file import Arrays
from pptsm.training.throughput import StepTimer
from pptsm.training.validation import validation_logits
from pptsm.weights.state_dict import as_arrays

# Added to the number of an epoch for clips that are sampled beside it (batch norm statistics).
BESIDE = 1_000_000

Item = TypeVar("Item")


@dataclass(frozen=True)
class Trained:
    """The outcome: weights as arrays, and one row of figures per epoch."""

    weights: list[Arrays]  # of each network that learned: the role's, then its peer's
    history: pd.DataFrame  # its column `kept` is 1 in the row of the epoch whose weights these are, else 0
    kept_epoch: int | None = None  # that epoch, counted from 1; None: nothing was trained
    clips_per_step: int | None = None  # likewise


def train(
    objective: Objective,
    epochs: int,
    run: Run,
    checkpoint: Checkpoint,
    show: Callable[[pd.DataFrame], None] | None = None,
) -> Trained:
    """Train the objective's learners on the clips of `run.train_videos`.

    Args:
        objective: what is minimised, and the networks that learn, with their starting weights.
        epochs: at least 1.
        run: recipe, data, and the processes that share the groups of each step.
        checkpoint: the state of this role's run; where it holds one, training goes on from it.
        show: is given the history up to now before the first step and after each epoch, once the state has it too;
            its column `kept` marks the epoch whose weights would be kept if training ended there.

    Raises:
        UserError: there is nothing to train on, a clip cannot be read, or the loss is no longer a number.
    """
    params, ranks, role = run.params, run.ranks, checkpoint.role
    recipe, workers = params.training, loader_processes(params.compute.workers)
    if run.train_videos.empty:
        raise UserError(f"{role}.epochs is {epochs}, but the index has no training videos.")

    any_epoch = _batches_of_epoch(len(run.train_videos) * recipe.clips_per_video, recipe.batch_size, [0])
    steps_per_epoch, clips_per_epoch, clips_per_step = len(any_epoch), sum(map(len, any_epoch)), len(any_epoch[0])
    _note_small_batch(role, clips_per_step, params)
    groups = number_of_groups(clips_per_step, recipe, ranks.size)
    learners = objective.learners
    for learner in learners:
        prepare(learner, recipe, ranks.size, clips_per_step)
    optimizer = build_optimizer(learners, recipe)
    precision = precision_of(recipe.amp, role)
    scaler = precision.scaler

    def clips_of(epoch: int) -> TrainingClips:
        return TrainingClips(run.train_videos, run.source, run.labels, run.spec, recipe, params.seed, epoch)

    reached = checkpoint.load(learners, optimizer, scaler)
    if reached is not None and reached.epochs_done < epochs:
        note(f"{role}: going on after epoch {reached.epochs_done} of {epochs}{reached.and_steps}")
    reached = reached or TrainState(epochs_done=0, history=[], best_top1=-1.0, best_weights=None)
    if show:  # DVC has removed what a run that was stopped had shown
        show(reached.table())

    to_do = range(reached.epochs_done, epochs)
    work = None if ranks.rank else run.work
    forecast = Forecast(
        role, recipe, to_do, clips_per_epoch, len(run.val_videos), len(learners), work=work, follows=run.follows
    )
    forecast.begin()
    bar = progress(None, role, "clips", total=epochs * clips_per_epoch)
    bar.update(reached.epochs_done * clips_per_epoch)
    for epoch in to_do:
        watch = StepTimer()
        clips = clips_of(epoch)
        batches = _batches_of_epoch(len(clips), recipe.batch_size, [params.seed, epoch])
        shares = [ranks.share(divided(batch, groups)) for batch in batches]  # the groups that this rank computes
        tally = EpochMetrics(
            role, epoch, clips, batches, len(learners), may_skip=scaler.is_enable(), ranks=ranks, sums=reached.sums
        )
        bar.update(tally.seen)
        forecast.clips_to_go -= tally.seen
        for learner in learners:
            into_training(learner, recipe)

        accumulation = Accumulation(learners)
        ahead = _by_steps(load_batches(clips, chain(*shares[tally.steps :]), workers), shares[tally.steps :])
        for step, loaded in enumerate(checkpoint.steps(watch.waiting(ahead)), start=tally.steps):
            # ---- one training step --------------------------------------------------------------
            rate = scheduled_rate(recipe, epoch * steps_per_epoch + step, steps_per_epoch, epochs, clips_per_step)
            optimizer.set_lr(rate)
            learned = []
            with accumulation.step():
                for group, (pixels, y) in zip(ranks.share(range(groups)), loaded, strict=True):
                    rng = _seeded([params.seed, epoch, step, BESIDE, group])
                    x, mix = mix_clips(recipe, normalise_on_device(pixels), y, rng)
                    learned.append(learn(objective, x, y, mix, share=len(y) / clips_per_step, precision=precision))
                    accumulation.add(len(y))
            save_is_due = accumulation.finish(ranks, checkpoint.save_is_due())
            take_step(optimizer, learners, precision, recipe.clip_norm)
            # -------------------------------------------------------------------------------------
            tally.add(learned, rate)
            forecast.step(len(batches[step]))
            bar.update(len(batches[step]))
            if save_is_due:
                checkpoint.save(reached.within(tally.sums()), learners, optimizer, scaler)

        # what follows may take long, and a run that was asked to stop leaves here
        checkpoint.save(reached.within(tally.sums()), learners, optimizer, scaler)
        row = {"epoch": epoch + 1, "lr": tally.rate, **tally.figures()}
        row |= {"clips_per_sec": tally.clips_per_sec, "wait_share": watch.wait_share}

        # once in a while: batch norm statistics that fit the weights
        if statistics_are_due(epoch, epochs, recipe.precise_bn_every):
            for learner in learners:
                fresh = clips_of(BESIDE + epoch)
                clean = _clean_groups(fresh, groups, params, role, ranks)
                precise_batch_norm(learner, clean, ranks)

        # once an epoch: validation, if there is anything to validate on
        if not run.val_videos.empty:
            logits_NK, truth_N = validation_logits(learners[0], run, f"{role}: validation")
            figures = accuracy(logits_NK, truth_N)
            row |= {"val_loss": figures.loss, "val_top1": figures.top1, "val_top5": figures.top5}
            # of equal ones the last: it has learned longest, at the lowest rate
            if recipe.keep == "best" and figures.top1 >= reached.best_top1:
                reached.best_top1, reached.best_epoch = figures.top1, epoch + 1
                reached.best_weights = [as_arrays(learner.state_dict()) for learner in learners]

        reached = reached.after(row)
        checkpoint.save(reached, learners, optimizer, scaler)
        if show:
            show(reached.table())
        note_epoch(role, epoch + 1, epochs, {name: value for name, value in row.items() if name != "epoch"})
        forecast.epoch()
    bar.close()
    weights, kept = reached.best_weights, reached.kept_epoch
    if weights is None:
        weights = [as_arrays(learner.state_dict()) for learner in learners]
    else:
        note(f"{role}: keeps the weights of epoch {kept} of {epochs}: validation top-1 {reached.best_top1:.1%} (best)")
    return Trained(weights, reached.table(), kept, clips_per_step)


def _seeded(numbers: list[int]) -> np.random.Generator:
    """The generator of a group's mixing; dropout is seeded beside it. The clips' own are of fewer numbers."""
    sequence = np.random.SeedSequence(numbers)
    paddle.seed(int(sequence.generate_state(1)[0]))
    return np.random.default_rng(sequence)


def _batches_of_epoch(num_clips: int, batch_size: int, seed: list[int]) -> list[list[int]]:
    """Clip numbers in random order, in full batches (what is left over waits for another epoch's order)."""
    order = np.random.default_rng(seed).permutation(num_clips).tolist()
    if num_clips < batch_size:
        return [order]
    return [order[start : start + batch_size] for start in range(0, num_clips - batch_size + 1, batch_size)]


def _by_steps(loaded: Iterable[Item], shares: Sequence[Sequence[object]]) -> Iterator[list[Item]]:
    """What is loaded group by group, a list per step; `shares` has the groups of each step."""
    groups = iter(loaded)
    for share in shares:
        yield list(islice(groups, len(share)))


def _clean_groups(
    clips: TrainingClips, groups: int, params: Params, role: str, ranks: Ranks
) -> Iterator[paddle.Tensor]:
    """This rank's training clips without mixing, for batch norm statistics: in groups as training computes them."""
    recipe = params.training
    batches = _batches_of_epoch(len(clips), recipe.batch_size, list(clips.seed_epoch))[: recipe.precise_bn_batches]
    share = ranks.share([group for batch in batches for group in divided(batch, groups)])
    loaded = load_batches(clips, share, loader_processes(params.compute.workers))
    for pixels, _ in progress(loaded, f"{role}: batch norm statistics", "groups", total=len(share)):
        yield normalise_on_device(pixels)


def _note_small_batch(role: str, clips: int, params: Params) -> None:
    """Say so where an epoch has fewer clips than a batch: then they are the batch, and the rates follow it."""
    recipe = params.training
    if clips == recipe.batch_size:
        return
    rates = (
        f"rates are {clips}/{recipe.lr_for_batch} of those in params.yaml (training.lr_for_batch)"
        if recipe.lr_for_batch
        else "rates stay as they are in params.yaml (training.lr_for_batch is 0)"
    )
    note(
        f"{role}: a step learns from {clips} clips, all that an epoch has, not from {recipe.batch_size} "
        f"(training.batch_size); {rates}. training.min_clips draws more clips of each video"
    )
