"""Stage `teacher_start`: fetch the weights that the teacher starts from, where params.yaml names any."""

from pptsm.params.checking import load_params
from pptsm.stages.options import DEFAULT_PARAMS, OutFolder, ParamsPath


def run(out: OutFolder, params_path: ParamsPath = DEFAULT_PARAMS) -> None:
    """Fetch the teacher's starting weights: nothing, a local file, a known name, or a URL."""
    params = load_params(params_path)

    from pptsm.weights.pretrained import fetch_start

    fetch_start("teacher", params.teacher.start, params.teacher.start_sha256, out)
