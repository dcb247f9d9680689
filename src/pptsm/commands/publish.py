"""A finished run for others to see: in MLflow, or as a repository of the Hugging Face Hub."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

PACKAGE = Path("models/package")


class Where(StrEnum):
    """Where a run is published."""

    mlflow = "mlflow"
    hf = "hf"


def publish(
    where: Annotated[Where, typer.Argument(help="mlflow: a server or a folder of MLflow; hf: the Hugging Face Hub.")],
    folder: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER", help="mlflow: the folder, or the server's address (http://HOST:5000); hf: the package."
        ),
    ],
    package: Annotated[Path, typer.Option(help="mlflow: the package that goes with the run.")] = PACKAGE,
    experiment: Annotated[str, typer.Option(help="mlflow: name of its experiment.")] = "pptsm",
    repo: Annotated[str | None, typer.Option(metavar="OWNER/NAME", help="hf: the repository to upload to.")] = None,
    private: Annotated[bool, typer.Option("--private", help="hf: if the repository is new, only you see it.")] = False,
    to: Annotated[Path | None, typer.Option(help="hf: write what would be uploaded into this folder instead.")] = None,
) -> None:
    """Publish the last run of this checkout: parameters, metrics with intervals, curves, package, hashes of dvc.lock.

    Nothing is sent anywhere else. Published again, the same run is there once.
    """
    from pptsm.orchestration.running import CommandError
    from pptsm.publish.facts import facts_of_checkout
    from pptsm.runtime import extras
    from pptsm.runtime.console import say
    from pptsm.runtime.errors import UserError

    extras.require(f"`pptsm publish {where}`", ["mlflow" if where is Where.mlflow else "hub"])
    try:
        facts = facts_of_checkout(Path())
    except CommandError as error:
        raise UserError(f"{error}; its last lines: {' | '.join(error.last_lines[-3:])}") from None

    from pptsm.deploy.promote import check_sums

    if where is Where.mlflow:
        from pptsm.publish import to_mlflow

        if (Path(folder) / "model.onnx").is_file():
            raise UserError(
                f"{folder} is a model's package, which `pptsm publish mlflow` takes by --package. Name MLflow's server "
                f"or folder: pptsm publish mlflow http://HOST:5000 --package {folder}"
            )
        check_sums(package)
        run_id, is_new = to_mlflow.publish(facts, package, folder, experiment)
        uri = to_mlflow.tracking_uri(folder)
        said = "published as" if is_new else "was published before, and is"
        say(f"{facts.name}: {said} run {run_id} of experiment {experiment}")
        say(f"look at it: {uri}" if uri.startswith("http") else f"look at it: mlflow ui --backend-store-uri {uri}")
        return
    from pptsm.publish import to_hub

    check_sums(Path(folder))
    if to is not None:
        to_hub.export(facts, Path(folder), to)
        say(f"{to}: what `pptsm publish hf {folder} --repo OWNER/NAME` uploads")
    else:
        say(f"published: {to_hub.upload(facts, Path(folder), repo, private)}")
