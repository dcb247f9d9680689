"""Where Paddle computes: one call before a stage builds its first layer."""

import os

import paddle

from pptsm.params.schema import Device, Devices
from pptsm.runtime.cores import GPU, SIZE, computing, processor_name, training_threads
from pptsm.runtime.errors import UserError


def use_device(requested: Device, devices: Devices = "auto", *, deterministic: bool = True) -> str:
    """Choose the device of this process, and the threads of a CPU.

    Args:
        requested: "auto" is a GPU where Paddle finds one.
        devices: a number is one of CPU processes; of a list of GPUs this process takes the first, unless it was
            started as a rank, with a GPU of its own.
        deterministic: on a GPU only kernels whose results are the same each time (a CPU has no others).

    Returns:
        "cpu" or "gpu".

    Raises:
        UserError: a GPU is asked for and is not there.
    """
    there = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
    if (requested == "gpu" or isinstance(devices, list)) and not there:
        raise UserError(
            "device is gpu, but Paddle finds none here: install the gpu extra instead of cpu (README, "
            '"On a GPU"), or set device: auto in params.yaml.'
        )
    if isinstance(devices, list) and max(devices) >= there:
        raise UserError(
            f"compute.devices names GPU {max(devices)}, but Paddle finds {there} here, numbered from 0. Correct it in "
            "params.yaml, or look at CUDA_VISIBLE_DEVICES."
        )
    if there and requested != "cpu" and not isinstance(devices, int):
        paddle.set_flags(
            {"FLAGS_cudnn_deterministic": deterministic, "FLAGS_embedding_deterministic": int(deterministic)}
        )
        number = os.environ.setdefault(GPU, str(gpus(devices)[0]))
        paddle.set_device(f"gpu:{number}")
        return "gpu"
    paddle.set_device("cpu")
    use_threads()
    return "cpu"


def use_threads() -> None:
    """Set the threads of a CPU: again after other processes have been given a part of the cores."""
    # Paddle computes on one thread by default; OMP_NUM_THREADS works too but warns at import.
    paddle.base.core.set_num_threads(training_threads())


def gpus(devices: Devices) -> list[int]:
    """The numbers of the GPUs that train together: those named, or all."""
    return devices if isinstance(devices, list) else list(range(paddle.device.cuda.device_count()))


def computed_with() -> str:
    """What Paddle computes with now: results agree between machines to rounding, not bit for bit."""
    if paddle.get_device() == "cpu":
        return f"{processor_name()}, {computing()}, Paddle {paddle.__version__}"
    number = f"{size} x " if (size := os.environ.get(SIZE, "1")) != "1" else ""
    return f"{number}{paddle.device.cuda.get_device_name()}, Paddle {paddle.__version__}"
