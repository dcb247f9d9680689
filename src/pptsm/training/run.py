"""What the parts of a training share: parameters, data, and the processes that compute."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from pptsm.data.clips import FrameSource
from pptsm.data.spec import ClipSpec
from pptsm.distributed.ranks import Ranks
from pptsm.params.schema import Params
from pptsm.training.workload import Work


@dataclass(frozen=True)
class Run:
    """One role's training, whatever its network and objective are."""

    params: Params  # the recipe is `params.training`, with the role's number of clips per video
    spec: ClipSpec  # what a clip is
    labels: list[str]  # class names
    train_videos: pd.DataFrame  # rows of the index
    val_videos: pd.DataFrame  # likewise; without any no accuracy is computed
    source: FrameSource  # where frames come from
    # The processes that share the work: all of them get the same answer, and it does not depend on their number.
    ranks: Ranks = field(default_factory=Ranks)
    work: Work | None = None  # the training as an amount, and those that follow it: for the time that it says
    follows: Sequence[Work] = ()
