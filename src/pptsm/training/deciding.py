"""Which parameters decide the result of a training: those that are used in the form that it has.

A stage runs again when DVC sees another value of any parameter that it lists. Whether its training is another one is
decided here: under a cosine no `step_factor` is used, without mixing no alpha, and what only evaluation looks at
decides nothing. A parameter that no rule names decides.
"""

import hashlib
from collections.abc import Mapping, Set
from typing import Any, Literal

import pandas as pd

from pptsm.data.spec import clip_spec
from pptsm.frames.store import Kept
from pptsm.params.choices import ONE_DEPTH
from pptsm.params.schema import Clip, Distillation, Params, Role, Student, Training
from pptsm.params.section import Section
from pptsm.training.validation import one_view
from pptsm.weights.card import network_arguments

LearnsFrom = Literal["labels", "teacher", "peer"]

# Of a role's section: what is in the card alone or only refuses, and weights, of which the hash is among the inputs.
NOT_OF_TRAINING = {"start.weights", "start.sha256", "start.min_coverage", "enabled", "baseline"}


def deciding_parameters(params: Params, sections: Mapping[str, Role], learns_from: LearnsFrom) -> dict[str, Any]:
    """The parameters that decide a training's result, as "section.key": value.

    Args:
        params: all parameters; `training.clips_per_video` as the role draws them.
        sections: of the networks that learn, by the name of the section.
        learns_from: whether another network has a part in the loss.
    """
    values = {"seed": params.seed, "sampling": params.sampling, "frames.source": params.frames.source}
    (segments,) = {section.network.num_segments for section in sections.values()}
    seen = one_view(clip_spec(params.clip, segments, params.sampling))  # also what the curve and the verdict look at
    unused = {"dense_window"} if params.sampling == "uniform" else {"frame_rule"}
    values |= {f"clip.{name}": getattr(seen, name) for name in Clip.model_fields if name not in unused}
    on_cpus = params.compute.device == "cpu"
    unused = _unused_in(params.training) | ({"deterministic"} if on_cpus else set())
    values |= {f"training.{key}": value for key, value in params.training.model_dump(exclude=unused).items()}
    for name, section in sections.items():
        unused = NOT_OF_TRAINING | _unused_of(section, learns_from)
        chosen = _values_of(section, unused)
        ratio = network_arguments(section, 1).shift_ratio if section.network.shift else None
        values |= {f"{name}.{key}": value for key, value in (chosen | {"network.shift_ratio": ratio}).items()}
    return values


def _values_of(section: Section, unused: Set[str], prefix: str = "") -> dict[str, Any]:
    """The values of a section and of those in it, as "section.key": value, but for those that are `unused`."""
    values: dict[str, Any] = {}
    for name in type(section).model_fields:
        key = f"{prefix}{name}"
        if key not in unused:
            value = getattr(section, name)
            values |= _values_of(value, unused, f"{key}.") if isinstance(value, Section) else {key: value}
    return values


def _unused_in(training: Training) -> set[str]:
    alphas = {"mixup": {"cutmix_alpha"}, "cutmix": {"mixup_alpha"}, "none": {"mixup_alpha", "cutmix_alpha"}}
    unused = {"min_clips"}  # is in clips_per_video
    unused |= alphas.get(training.mix, set())
    unused |= {"step_factor", "step_epochs"} if training.schedule == "cosine" else {"warmup_epochs"}
    if training.schedule == "piecewise" or not training.warmup_epochs:
        unused.add("warmup_start_lr")
    if not training.precise_bn_every:
        unused.add("precise_bn_batches")
    if training.flip == "none":
        unused.add("flip_labels")
    return unused


def _unused_of(section: Role, learns_from: LearnsFrom) -> set[str]:
    network = section.network.network
    unused = {"network.depth"} if network in ONE_DEPTH else set[str]()
    unused |= {"network.activation"} if network == "tsm_lite" else set()
    of_a_teacher = set(Distillation.model_fields) if isinstance(section, Student) else set[str]()
    used = {"labels": set[str](), "teacher": {"kind", "weight", "temperature"}, "peer": {"kind", "weight"}}[learns_from]
    return unused | {f"distillation.{key}" for key in of_a_teacher - used}


def digest_of_kept(kept: Kept, clips: pd.DataFrame) -> str:
    """The kept frames of clips (rows of the index), by the size of each clip's: others have other sizes.

    Which videos they were taken from, the index says by the hash of each.
    """
    sizes = [kept.size(name) for name in clips.loc[clips["split"].isin(["train", "val"]), "id"]]
    return hashlib.sha256(repr(sizes).encode()).hexdigest()
