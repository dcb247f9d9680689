"""Flow `predict-folder`: classifies the videos of a folder that are new since the last run, with the exported model.

    prefect deployment run predict-folder --watch -p folder=data/incoming
    python flows/predict_folder.py -p folder=data/incoming     # once, no server needed

It is `pptsm predict FOLDER --results FILE`, which knows what is new, and a table of the newest rows. Needs no Paddle.
"""

if __name__ == "__main__":
    from pptsm.orchestration import script

    script.prepare(__file__)  # before Prefect reads its settings

from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from flows.graph import ROOT
from prefect import State, flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.states import Completed, Failed
from pydantic import Field

from pptsm.data.table import read_csv
from pptsm.orchestration.running import CommandError, run_streaming

SHOWN = 200  # rows of the table in Prefect


@flow(name="predict-folder")
def predict_folder(
    folder: str,
    model: str | None = None,
    results: str = "reports/predicted.csv",
    top_k: Annotated[int, Field(ge=1)] = 5,
    timeout_sec: Annotated[float, Field(ge=1)] = 600.0,
) -> State[Any]:
    """Classify new videos and add a row for each to the results.

    Args:
        folder: where videos arrive, searched with its subfolders. Paths count from the project's folder.
        model: an ONNX file; by default the exported one.
        results: CSV, one row per video; for another model name another file, and all videos are predicted again.
        top_k: how many classes are kept in column `top`.
        timeout_sec: a video that takes longer has failed.

    Returns:
        Completed with the counts, or Failed where all videos that were taken failed, or where the folder, the model
        or the results cannot be used.
    """
    command = ["pptsm", "predict", f"--results={results}", f"--top-k={top_k}", f"--timeout={timeout_sec}"]
    command += [f"--model={model}"] if model else []
    error = None
    try:
        last_lines = run_streaming([*command, "--", folder], get_run_logger().info, cwd=ROOT)
    except CommandError as raised:
        error, last_lines = raised, raised.last_lines
    if (ROOT / results).is_file():
        with suppress(OSError, ValueError, OverflowError):  # another file: the command has said so
            columns = newest_rows(ROOT / results)
            create_table_artifact(key="predicted", table=columns, description=f"The newest rows of {results}.")
    line = last_lines[-1].removeprefix("error: ") if last_lines else str(error)
    return Failed(message=line) if error else Completed(message=line)


def newest_rows(results: Path) -> dict[str, list[str]]:
    """The last rows of the results, column by column, all as text.

    Raises:
        OSError, ValueError, OverflowError: the file is no table.
    """
    newest = read_csv(results.read_bytes(), defaultdict(lambda: "str"), keep_default_na=False).tail(SHOWN)
    return {str(name): newest[name].tolist() for name in newest}


if __name__ == "__main__":
    raise SystemExit(script.run(predict_folder))
