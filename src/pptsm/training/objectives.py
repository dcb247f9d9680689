"""What a training step minimises: three ways to learn, each a value with the networks that take part; and the
gradients of it over a group of clips, `learn`.

`learners` are the networks that change, the role's own first. Shape legend: N clips, T frames, K classes.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import paddle

from pptsm.model.network import VideoNetwork
from pptsm.training.losses import distillation, mutual_divergence, smoothed_cross_entropy
from pptsm.training.mixing import Mix
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
class CrossEntropy:
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
class Distillation:
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
class MutualLearning:
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


class Learned(NamedTuple):
    """What a group of clips was, and what became of it."""

    losses: Losses  # means over its clips, without a graph behind them
    labels: paddle.Tensor  # int64 [N]
    mix: Mix | None


def learn(
    objective: Objective,
    clips: paddle.Tensor,
    labels: paddle.Tensor,
    mix: Mix | None,
    *,
    share: float,
    precision: Precision,
) -> Learned:
    """Add the gradients of a group's mean loss to the learners'.

    Args:
        objective: what is minimised.
        clips: [N, T, 3, H, W].
        labels: int64 [N].
        mix: what they were mixed with, or None.
        share: of this group in the clips of the step, by which its loss is weighted.
        precision: of all networks that take part, a teacher among them.
    """
    with precision.cast():
        losses = objective.losses(clips, labels, mix)
    precision.scaler.scale(share * losses.total).backward()
    total, own, of_labels = (loss.detach() for loss in (losses.total, losses.own, losses.labels))
    return Learned(Losses(total, own, of_labels, [logits.detach() for logits in losses.logits]), labels, mix)
