"""Where Paddle computes: one call before a stage builds its first layer."""

from typing import Literal

import paddle

from pptsm.errors import UserError
from pptsm.processor import computing, processor_name, training_threads


def use_device(wanted: Literal["auto", "cpu", "gpu"], *, deterministic: bool = True) -> str:
    """Choose the device, and the threads of a CPU.

    Args:
        wanted: "auto" is a GPU where Paddle finds one.
        deterministic: on a GPU only kernels whose results are the same each time (a CPU has no others).

    Returns:
        "cpu" or "gpu".

    Raises:
        UserError: a GPU is asked for and there is none.
    """
    has_gpu = paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if wanted == "gpu" and not has_gpu:
        raise UserError(
            "device is gpu, but Paddle finds none here: install the gpu extra instead of cpu (README, "
            '"On a GPU"), or set device: auto in params.yaml.'
        )
    if has_gpu and wanted != "cpu":
        paddle.set_flags(
            {"FLAGS_cudnn_deterministic": deterministic, "FLAGS_embedding_deterministic": int(deterministic)}
        )
        paddle.set_device("gpu")
        return "gpu"
    paddle.set_device("cpu")
    # Paddle computes on one thread unless told otherwise; OMP_NUM_THREADS works too but warns at import.
    paddle.base.core.set_num_threads(training_threads())
    return "cpu"


def computed_with() -> str:
    """What Paddle computes with now: results agree between machines to rounding, not bit for bit."""
    if paddle.get_device() == "cpu":
        return f"{processor_name()}, {computing()}, Paddle {paddle.__version__}"
    return f"{paddle.device.cuda.get_device_name()}, Paddle {paddle.__version__}"
