"""A run in MLflow: parameters, figures, curves, the package as artifact, the hashes of dvc.lock as tags."""

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pptsm.publish.facts import Facts
from pptsm.runtime.errors import UserError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

DATABASE, ARTIFACTS = "mlflow.db", "artifacts"  # in a folder
FINGERPRINT = "pptsm.fingerprint"
UNFIT = re.compile(r"[^\w./ :-]")  # what MLflow takes in no name
LONGEST_NAME, LONGEST_VALUE, LONGEST_TAG = 250, 6000, 5000
BATCH, FEW = 1000, 100  # metrics, and parameters or tags, that MLflow takes at once
# MLflow's own, before it is imported: it asks nobody beside its server, and gives up in seconds instead of minutes. Of
# DO_NOT_TRACK it knows the word `true` alone (findings/mlflow_tracks_whoever_says_1.sh).
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}  # unless the user says otherwise


def tracking_uri(place: str) -> str:
    """The address of a store: itself, or that of the database in a folder, which is made if need be.

    Raises:
        UserError: a file is there, or a folder is asked for and the database's library is not installed.
    """
    if re.match(r"[a-z][a-z0-9+.-]*:", place):
        return place
    folder = Path(place).absolute()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{place} is to be a folder for MLflow or the address of its server, but a file is there.")
    if find_spec("sqlalchemy") is None or find_spec("alembic") is None:
        raise UserError(
            f"{place} is a folder, and MLflow keeps runs there in a database, which its client alone (mlflow-skinny) "
            "cannot write. Name a server (http://HOST:5000), or install the whole: python -m pip install mlflow."
        )
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / DATABASE}"


def publish(facts: Facts, package: Path, place: str, experiment: str) -> tuple[str, bool]:
    """Publish a run, once: the same run again is found by its fingerprint.

    Args:
        facts: of the run.
        package: the folder of the model's package.
        place: address of a server, or a folder.
        experiment: name of MLflow's experiment; it is made if need be.

    Returns:
        The id of MLflow's run, and whether it was made now.

    Raises:
        UserError: the store cannot be reached, or refuses.
    """
    os.environ |= QUIET
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    uri = tracking_uri(place)

    import logging

    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
    from requests.exceptions import RequestException

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)  # how it makes its tables
    try:
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        return _publish(client, facts, package, place, experiment)
    except (MlflowException, RequestException, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"MLflow at {_without_password(uri)} does not take the run: {reason}. What is half there counts as not "
            "published: the same command begins anew."
        ) from None


def _publish(client: "MlflowClient", facts: Facts, package: Path, place: str, experiment: str) -> tuple[str, bool]:
    of = _experiment(client, place, experiment)
    for run in client.search_runs([of], f"tags.`{FINGERPRINT}` = '{facts.fingerprint}'"):
        if run.info.status == "FINISHED":
            return run.info.run_id, False
        client.delete_run(run.info.run_id)  # it was left in the middle
    run_id = client.create_run(of, run_name=facts.name[:LONGEST_NAME], tags=_tags(facts)).info.run_id
    try:
        _log(client, run_id, facts, package)
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id)
    return run_id, True


def _experiment(client: "MlflowClient", place: str, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage != "active":
            raise UserError(f"MLflow's experiment {name} is deleted there: restore it, or name another (--experiment).")
        return str(found.experiment_id)
    own = None if re.match(r"[a-z][a-z0-9+.-]*:", place) else (Path(place).absolute() / ARTIFACTS).as_uri()
    return str(client.create_experiment(name, artifact_location=own))


def _log(client: "MlflowClient", run_id: str, facts: Facts, package: Path) -> None:
    from mlflow.entities import Metric, Param, RunTag

    now = client.get_run(run_id).info.start_time
    metrics = [Metric(_fit(name), value, now, 0) for name, value in facts.metrics.items()]
    for name, points in facts.curves.items():
        metrics += [Metric(_fit(name), value, now, epoch) for epoch, value in points]
    parameters = [Param(_fit(name), value[:LONGEST_VALUE]) for name, value in facts.parameters.items()]
    hashes = [RunTag(_fit(f"dvc.lock/{path}"), digest) for path, digest in facts.hashes.items()]
    for some in _parts(metrics, BATCH):
        client.log_batch(run_id, metrics=some)
    for some in _parts(parameters, FEW):
        client.log_batch(run_id, params=some)
    for some in _parts(hashes, FEW):
        client.log_batch(run_id, tags=some)
    for name, content in facts.texts.items():
        client.log_text(run_id, content.decode(), f"run/{name}")
    for page in facts.pages:
        client.log_artifact(run_id, str(page), "reports")
    client.log_artifacts(run_id, str(package), "package")


def _tags(facts: Facts) -> dict[str, Any]:
    return {
        FINGERPRINT: facts.fingerprint,
        "mlflow.source.git.commit": facts.commit,
        "mlflow.source.name": "pptsm",
        "git.uncommitted_changes": str(facts.changed).lower(),
        "mlflow.note.content": (
            "Figures are top-1 and the like as shares, each with the ends of its 95 % interval beside it: by video "
            "(`_low`, `_high`) and by group (`_low_by_group`, `_high_by_group`). Curves are below `epochs/`. The model "
            "with its card is the artifact `package`, the report is in `reports`."
        )[:LONGEST_TAG],
    }


def _fit(name: str) -> str:
    return UNFIT.sub("_", name)[:LONGEST_NAME]


def _parts(values: list[Any], size: int) -> list[list[Any]]:
    return [values[first : first + size] for first in range(0, len(values), size)]


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    return uri.replace(f"{parts.username}:{parts.password}@", "") if parts.password else uri
