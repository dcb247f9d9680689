"""A package as a repository of the Hugging Face Hub: its files, its card for the Hub, and the run that it came from."""

import io
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pptsm.deploy.package import SUMS_FILE
from pptsm.experiments.graph import LOCK, PARAMS
from pptsm.publish.facts import Facts
from pptsm.runtime.errors import UserError
from pptsm.runtime.files import atomic_folder, sha256_of

CARD, RUN = "README.md", "run"  # RUN: folder of parameters, hashes, metrics and curves
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
HEAD = re.compile(r"---\n(?P<head>.*?)\n---\n", re.DOTALL)
QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "0"}
HIGHEST_ERROR = 300  # letters of the Hub's answer


def export(facts: Facts, package: Path, out: Path) -> None:
    """Write the repository as a folder.

    Args:
        facts: of the run that made the package.
        package: the folder of the package.
        out: the folder; it is replaced whole.

    Raises:
        UserError: the package's card has no head of YAML, or something of the user's is in the place of `out`.
    """
    card = card_for_hub((package / CARD).read_text(encoding="utf-8"), facts)
    with atomic_folder(out) as folder:
        _fill(folder, package, card, facts)


def upload(facts: Facts, package: Path, repo: str | None, private: bool) -> str:
    """Upload the repository in one commit.

    Args:
        facts: of the run that made the package.
        package: the folder of the package.
        repo: OWNER/NAME; it is made if need be.
        private: whether a new one is seen by its owner alone.

    Returns:
        Its address.

    Raises:
        UserError: no repository or no token is given, or the Hub refuses.
    """
    if repo is None or not REPOSITORY.fullmatch(repo):
        raise UserError(
            f"the Hub needs a repository, --repo OWNER/NAME, and found {repo!r}. `--to FOLDER` writes a folder instead."
        )
    os.environ |= QUIET

    import tempfile

    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if not get_token():
        raise UserError(
            "no token of the Hub is here: looked for HF_TOKEN and for what `hf auth login` keeps. Set one of them, or "
            "write the folder with --to FOLDER and upload that by hand."
        )
    card = card_for_hub((package / CARD).read_text(encoding="utf-8"), facts)
    api = HfApi(library_name="pptsm")
    with tempfile.TemporaryDirectory() as folder:
        _fill(Path(folder), package, card, facts)
        try:
            address = api.create_repo(repo, private=private or None, exist_ok=True)
            said = f"{facts.name}, commit {facts.commit[:7]}"
            api.upload_folder(repo_id=repo, folder_path=folder, commit_message=said)
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            reason = " ".join(str(error).split())[:HIGHEST_ERROR]
            raise UserError(
                f"the Hub ({api.endpoint}) does not take {repo}: {reason}. Check the name, and what the token may "
                "write; the same command tries again."
            ) from None
    return str(address)


def card_for_hub(text: str, facts: Facts) -> str:
    """The package's card with what the Hub shows beside it: intervals in its results, and where the run's files are.

    Args:
        text: README.md of the package.
        facts: of the run.

    Raises:
        UserError: it has no head of YAML.
    """
    found = HEAD.match(text)
    yaml = YAML(typ="safe", pure=True)
    try:
        head = yaml.load(found["head"]) if found else None
    except YAMLError:
        head = None
    if found is None or not isinstance(head, dict):
        raise UserError(
            f"the package's {CARD} has no head of YAML. `dvc repro --force --single-item package` makes it anew."
        )
    for result in (result for model in head.get("model-index", []) for result in model.get("results", [])):
        for metric in result.get("metrics", []):
            metric["name"] = _with_interval(str(metric.get("name", "")), facts.metrics)
    yaml.default_flow_style, yaml.allow_unicode, yaml.width = False, True, 1 << 16
    yaml.sort_base_mapping_type_on_output = False
    written = io.StringIO()
    yaml.dump(head, written)
    changed = ", with edits that are in no commit" if facts.changed else ""
    about = (
        f"`{RUN}/` has its parameters, the hashes of all that it read and wrote, its metrics, "
        f"and its curves by epoch. Commit {facts.commit[:12]}{changed}."
    )
    return f"---\n{written.getvalue()}---\n{text[found.end() :].rstrip()}\n\n## The run\n\n{about}\n"


def _with_interval(name: str, metrics: dict[str, float]) -> str:
    """`top-1, uniform sampling` with the 95 % interval by video that was measured for it."""
    found = re.fullmatch(r"top-1, (?P<sampling>\w+) sampling", name)
    ends = [metrics.get(f"student/{found['sampling']}/top1_{end}") if found else None for end in ("low", "high")]
    if None in ends:
        return name
    low, high = (f"{share * 100:.1f}" for share in ends if share is not None)
    return f"{name} (95 % interval {low} to {high} %)"


def _without_place(text: str) -> str:
    """A text as it is, but of a path from the root of a disk its last part: where it lies is nobody's business."""
    return Path(text).name if Path(text).expanduser().is_absolute() or text.startswith("..") else text


def _as_json(values: dict[str, str]) -> bytes:
    return (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode()


def _fill(folder: Path, package: Path, card: str, facts: Facts) -> None:
    """Put the files into an empty folder, with sums that fit them."""
    for file in sorted(package.iterdir()):
        if file.is_file() and file.name not in (CARD, SUMS_FILE):
            shutil.copy(file, folder / file.name)
    (folder / CARD).write_text(card, encoding="utf-8", newline="\n")
    (folder / RUN).mkdir()
    public = {name: content for name, content in facts.texts.items() if name not in (PARAMS, LOCK)}
    public["parameters.json"] = _as_json({key: _without_place(value) for key, value in facts.parameters.items()})
    public["hashes.json"] = _as_json({_without_place(path): digest for path, digest in facts.hashes.items()})
    for name, content in public.items():
        (folder / RUN / name).write_bytes(content)
    files: list[Any] = sorted(file for file in folder.rglob("*") if file.is_file() and file.name[0] != ".")
    lines = [f"{sha256_of(file)}  {file.relative_to(folder).as_posix()}\n" for file in files]
    (folder / SUMS_FILE).write_text("".join(lines), encoding="utf-8", newline="\n")
