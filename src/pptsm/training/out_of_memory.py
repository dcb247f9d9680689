"""The error where the memory of a device, or the computer's, is too small for a training."""

from collections.abc import Iterator
from contextlib import contextmanager

import paddle

from pptsm.params.schema import Params
from pptsm.runtime.errors import UserError

# In what CUDA's libraries and the system say of it; Paddle's own allocators raise a MemoryError.
SIGNS = ("out of memory", "ALLOC_FAILED", "Cannot allocate memory")


@contextmanager
def explain_oom(role: str, params: Params, segments: int) -> Iterator[None]:
    """Around the training of a role, on clips of so many frames.

    Raises:
        UserError: instead of any error about memory; with what was computed, and which settings need less.
    """
    message = ""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in SIGNS):
            raise
        message = _sentence(role, params, segments, str(error))
    if message:
        raise UserError(message)  # outside: the error's trace would keep alive what fills the memory


def _sentence(role: str, params: Params, segments: int, reason: str) -> str:
    recipe, clip = params.training, params.clip
    half = "training.amp (fp16 or bf16), " if recipe.amp == "none" and paddle.get_device() != "cpu" else ""
    words = " ".join(reason.split())[:200] or "no more is known"
    return (
        f"{role}: the memory of {paddle.get_device()} ran out, with training.batch_norm_clips "
        f"{recipe.batch_norm_clips}, clips of {segments} frames of {clip.crop_px} px ({words}). Lower "
        "training.batch_norm_clips, the clips that are computed at once (batch norm then sees fewer together; the step "
        f"stays one), or take {half}a smaller clip.crop_px, fewer segments or a smaller network. What was saved of "
        "this training stays: the same settings go on from it where there is more memory."
    )
