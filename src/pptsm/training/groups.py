"""How the clips of a step divide into groups: what batch norm and mixing look at, and what is computed at once.

A group is the same clips, mixed alike, whatever computes it. So a training depends on the recipe and on nothing of the
machine: how many processes share the groups shows in none of its results. No Paddle is needed here.

Source: Hoffer et al., "Train longer, generalize better" (2017), section 4 ("ghost batch normalization").
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

from pptsm.params.schema import Training

Item = TypeVar("Item")


def number_of_groups(clips: int, recipe: Training, gpus: int = 1) -> int:
    """How many groups a step of so many clips has: each of `batch_norm_clips` or more, or of all clips there are.

    Args:
        clips: of the step.
        recipe: section training.
        gpus: that train together. Where batch norm is synchronised, a group is what one of them computes.
    """
    if recipe.batch_norm == "synchronised":
        return gpus
    return max(1, clips // recipe.batch_norm_clips)


def most_processes(clips: int, recipe: Training, *, on_gpu: bool) -> int:
    """How many processes can share a step of so many clips: each needs a group.

    Paddle synchronises batch norm on GPUs only, so a CPU takes such a batch as one group.
    """
    if recipe.batch_norm == "synchronised":
        return clips if on_gpu else 1
    return number_of_groups(clips, recipe)


def divided(batch: Sequence[Item], groups: int) -> list[Sequence[Item]]:
    """A batch in so many groups, in order; their sizes differ by one at most."""
    ends = [number * len(batch) // groups for number in range(groups + 1)]
    return [batch[start:end] for start, end in pairwise(ends)]
