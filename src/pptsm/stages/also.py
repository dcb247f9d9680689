"""Stage `also`: the networks of evaluate.also, found and, where they are published, fetched. Seconds but for that."""

from pathlib import Path

from pptsm.params.checking import load_params
from pptsm.stages.options import (
    DEFAULT_PARAMS,
    BaselineIn,
    ExportIn,
    OutFolder,
    ParamsPath,
    StudentIn,
    TeacherIn,
)


def run(
    teacher: TeacherIn,
    student: StudentIn,
    baseline: BaselineIn,
    export: ExportIn,
    out: OutFolder,
    params_path: ParamsPath = DEFAULT_PARAMS,
) -> None:
    """Find the networks that evaluate.also names, and link to their files."""
    params = load_params(params_path)

    from pptsm.deploy.find_networks import find_networks
    from pptsm.runtime.console import note
    from pptsm.runtime.files import atomic_folder, is_output

    before = [folder.absolute() for folder in (teacher, student, baseline, export)]

    def allowed(path: Path) -> bool:
        return not is_output(path) or not set(before).isdisjoint((path.absolute(), *path.absolute().parents))

    with atomic_folder(out) as folder:
        found = find_networks(params.evaluate.also, folder, allowed)
    for one in found:
        note(f"also: {one.name}: {one.kind}{f', published: {one.published}' if one.published else ''}")
