"""Stage `student_start`: fetch the weights that the student starts from, where params.yaml names any."""

from pptsm.params.checking import load_params
from pptsm.stages.options import DEFAULT_PARAMS, OutFolder, ParamsPath


def run(out: OutFolder, params_path: ParamsPath = DEFAULT_PARAMS) -> None:
    """Fetch the student's starting weights: nothing, a local file, a known name, or a URL."""
    params = load_params(params_path)

    from pptsm.weights.pretrained import fetch_start

    fetch_start("student", params.student.start, params.student.start_sha256, out)
