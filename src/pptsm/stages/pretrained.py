"""Stage `pretrained`: fetch the starting weights of teacher and student, where params.yaml names any."""

import json
import shutil

from pptsm.params import load_params
from pptsm.stages.options import DEFAULT_PARAMS, OutFolder, ParamsPath


def run(out: OutFolder, params_path: ParamsPath = DEFAULT_PARAMS) -> None:
    """Fetch the starting weights: nothing, a local file, a known name, or a URL."""
    params = load_params(params_path)

    from pptsm.console import note
    from pptsm.files import sha256_of, whole_folder
    from pptsm.ingest.download import locate_weights
    from pptsm.model.pickles import read_weights

    wanted = {
        "teacher": (params.teacher.start, params.teacher.start_sha256),
        "student": (params.student.start, params.student.start_sha256),
    }
    with whole_folder(out) as folder:
        for role, (source, sha256) in wanted.items():
            if source is None:
                note(f"pretrained: {role} starts from random weights")
                continue
            path = locate_weights(source, sha256)
            read_weights(path)  # refused here rather than an hour later
            shutil.copyfile(path, folder / f"{role}.pdparams")
            note(f"pretrained: {role} starts from {path.name}")
        origins = {
            role: {"source": source, "sha256": sha256_of(folder / f"{role}.pdparams") if source else None}
            for role, (source, _) in wanted.items()
        }
        (folder / "sources.json").write_text(json.dumps(origins, indent=2) + "\n")
