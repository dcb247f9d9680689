"""What a training step minimises: three ways to learn, each a value with the networks that take part; and the
gradients of it over a batch, `accumulate`.

`learners` are the networks that change, the role's own first. Shape legend: N clips, T frames, K classes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import paddle

from pptsm.model.network import VideoNetwork
from pptsm.training.losses import distillation, mutual_divergence, smoothed_cross_entropy
from pptsm.training.mixing import Mix, part_of
from pptsm.training.precision import Precision


class Losses(NamedTuple):
    """What one step minimises, and the parts of it that are the role's own."""

    total: paddle.Tensor  # what is minimised; under mutual learning the peer's cross entropy is in it
    own: paddle.Tensor  # without the peer's cross entropy
    labels: paddle.Tensor  # the role's cross entropy alone, before any weighting
    logits: list[paddle.Tensor]  # [N, K] of each learner


class Objective(Protocol):
    """A way to learn."""

    @property
    def learners(self) -> list[VideoNetwork]:
        """The networks that change."""
        ...

    def losses(self, clips: paddle.Tensor, labels: paddle.Tensor, mix: Mix | None) -> Losses:
        """Of clips [N, T, 3, H, W] with labels int64 [N]."""
        ...


@dataclass(frozen=True)
class Plain:
    """From the labels alone."""

    model: VideoNetwork
    smoothing: float

    @property
    def learners(self) -> list[VideoNetwork]:
        """The network alone."""
        return [self.model]

    def losses(self, clips: paddle.Tensor, labels: paddle.Tensor, mix: Mix | None) -> Losses:
        """Cross entropy."""
        logits = self.model(clips)
        cross_entropy = smoothed_cross_entropy(logits, labels, self.smoothing, mix)
        return Losses(cross_entropy, cross_entropy, cross_entropy, [logits])


@dataclass(frozen=True)
class Hinton:
    """From the labels, and from a fixed teacher that sees the same clips.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network" (2015).
    """

    model: VideoNetwork
    teacher: VideoNetwork  # in evaluation mode
    smoothing: float
    weight: float  # w, of the teacher's part, 0 to 1
    temperature: float

    @property
    def learners(self) -> list[VideoNetwork]:
        """The network alone."""
        return [self.model]

    def losses(self, clips: paddle.Tensor, labels: paddle.Tensor, mix: Mix | None) -> Losses:
        """(1 - w) * cross entropy + w * distillation."""
        logits = self.model(clips)
        with paddle.no_grad():
            taught = self.teacher(clips)
        cross_entropy = smoothed_cross_entropy(logits, labels, self.smoothing, mix)
        own = (1 - self.weight) * cross_entropy + self.weight * distillation(logits, taught, self.temperature)
        return Losses(own, own, cross_entropy, [logits])


@dataclass(frozen=True)
class Mutual:
    """From the labels, and from a peer that learns beside it.

    Source: Zhang et al., "Deep Mutual Learning" (CVPR 2018), as PP-TSMv2 sums it.
    """

    model: VideoNetwork
    peer: VideoNetwork
    smoothing: float
    weight: float  # w, of the divergence

    @property
    def learners(self) -> list[VideoNetwork]:
        """Both networks."""
        return [self.model, self.peer]

    def losses(self, clips: paddle.Tensor, labels: paddle.Tensor, mix: Mix | None) -> Losses:
        """Cross entropy of both + w * their divergence; gradients flow into both."""
        logits, others = self.model(clips), self.peer(clips)
        cross_entropy = smoothed_cross_entropy(logits, labels, self.smoothing, mix)
        own = cross_entropy + self.weight * mutual_divergence(logits, others)
        total = own + smoothed_cross_entropy(others, labels, self.smoothing, mix)
        return Losses(total, own, cross_entropy, [logits, others])


def accumulate(
    objective: Objective,
    clips: paddle.Tensor,
    labels: paddle.Tensor,
    mix: Mix | None,
    *,
    at_once: int,
    precision: Precision,
) -> Losses:
    """Add the gradients of a batch's mean loss to the learners', a part of the batch at a time.

    A part has the memory of its values only until its gradients are there. The gradients are those of the whole
    batch, however it divides, but for what looks at a part as a whole: batch norm's statistics, where it takes the
    clips' own, and the random numbers of dropout.

    Args:
        objective: what is minimised.
        clips: [N, T, 3, H, W].
        labels: int64 [N].
        mix: what they were mixed with, or None.
        at_once: clips of a part, at least 1; the last one may have fewer.
        precision: of all networks that take part, a teacher among them.

    Returns:
        The losses of the whole batch, without a graph behind them.
    """
    number = len(labels)
    shares: list[float] = []
    parts: list[Losses] = []
    for start in range(0, number, at_once):
        some = slice(start, start + at_once)
        with precision.cast():
            losses = objective.losses(clips[some], labels[some], part_of(mix, some))
        shares.append(len(labels[some]) / number)
        precision.scaler.scale(shares[-1] * losses.total).backward()
        total, own, of_labels = (loss.detach() for loss in (losses.total, losses.own, losses.labels))
        parts.append(Losses(total, own, of_labels, [logits.detach() for logits in losses.logits]))

    def mean(of_parts: Iterable[paddle.Tensor]) -> paddle.Tensor:
        return sum(share * loss for share, loss in zip(shares, of_parts, strict=True))

    return Losses(
        mean(part.total for part in parts),
        mean(part.own for part in parts),
        mean(part.labels for part in parts),
        [paddle.concat(of_learner) for of_learner in zip(*(part.logits for part in parts), strict=True)],
    )
