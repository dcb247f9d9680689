"""What a training state is made of."""

from typing import Any

import paddle

from conftest import params_with
from pptsm.model.network import VideoNetwork, build_model
from pptsm.training.optimizer import build_optimizer

PARAMETERS = {"student.epochs": 2, "training.schedule": "piecewise", "training.step_epochs": [1]}


def learner() -> tuple[list[VideoNetwork], Any, Any]:
    """A network, its optimiser and its scaler."""
    with paddle.utils.unique_name.guard():
        networks = [build_model("tsm", 18, 2, 2, width=0.125)]
        return networks, build_optimizer(networks, params_with().training), paddle.amp.GradScaler(enable=False)
