"""The precision that a training step computes in: single, or half where the recipe asks for it and a GPU has it."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import paddle

from pptsm.params.schema import Amp
from pptsm.runtime.console import note
from pptsm.runtime.errors import UserError

DTYPES: dict[Amp, str] = {"fp16": "float16", "bf16": "bfloat16"}


@dataclass(frozen=True)
class Precision:
    """How the operations of a step are cast, and what keeps small gradients from vanishing.

    Half precision is that of Paddle's level O1: weights, norms and losses stay float32, convolutions and products of
    matrices are computed in half.
    """

    dtype: str | None  # of convolutions and matrix products; None: float32, as everything else
    scaler: paddle.amp.GradScaler  # passes everything through but for float16

    def cast(self) -> AbstractContextManager[None]:
        """Operations in it are computed in this precision. Gradients are taken outside."""
        context: AbstractContextManager[None] = paddle.amp.auto_cast(
            enable=self.dtype is not None, dtype=self.dtype or "float16", level="O1"
        )
        return context


def precision_of(amp: Amp, role: str) -> Precision:
    """The precision that `training.amp` asks for; on a CPU, for which Paddle has no other, single precision.

    Raises:
        UserError: the GPU cannot compute in it: Paddle would go on in float32 without a word.
    """
    dtype = DTYPES.get(amp)
    if dtype is not None and paddle.get_device() == "cpu":
        note(f"{role}: computes in single precision: training.amp is {amp}, which Paddle has on GPUs only")
        dtype = None
    if dtype is not None and not _gpu_has(dtype):
        raise UserError(
            f"training.amp is {amp}, but {paddle.device.cuda.get_device_name()} cannot compute in it: fp16 needs "
            "compute capability 7.0, bf16 8.0. Set training.amp to none, or on a GPU of 7.x to fp16."
        )
    return Precision(dtype, paddle.amp.GradScaler(enable=dtype == "float16"))


def _gpu_has(dtype: str) -> bool:
    supported: bool = paddle.amp.is_float16_supported() if dtype == "float16" else paddle.amp.is_bfloat16_supported()
    return supported
