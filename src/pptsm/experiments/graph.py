"""What dvc.yaml says, read without DVC: stages, their order, what they write, and what `meta` says of them."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pptsm.runtime.dvc_yaml import expanded
from pptsm.runtime.errors import UserError

PARAMS, LOCK, GRAPH = "params.yaml", "dvc.lock", "dvc.yaml"
WRITES = ("outs", "metrics", "plots")


def stages_at(root: Path) -> dict[str, dict[str, Any]]:
    """The stages of a project by name, in the order in which they need each other.

    Raises:
        UserError: there is no dvc.yaml, or it is no YAML with stages.
    """
    path = root / GRAPH
    try:
        return expanded(YAML(typ="safe").load(path.read_text(encoding="utf-8"))["stages"])
    except (OSError, ValueError) as error:
        raise UserError(
            f"no project is here: cannot read {path} ({error}). Run this in a clone of the project."
        ) from None
    except (YAMLError, TypeError, KeyError, AttributeError):
        raise UserError(f"{path} has no stages as YAML. `git diff {GRAPH}` shows what was changed.") from None


def outputs_of(stage: dict[str, Any], kinds: tuple[str, ...] = WRITES) -> list[str]:
    """The paths that a stage writes.

    Args:
        stage: its entry in dvc.yaml.
        kinds: which of them.
    """
    outs = [out for kind in kinds for out in stage.get(kind, [])]
    return [next(iter(out)) if isinstance(out, dict) else out for out in outs]


def compared_files(stages: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """What a comparison reads beside the metrics: word -> stage -> path, as `meta.compare` says it."""
    found: dict[str, dict[str, str]] = {}
    for name, stage in stages.items():
        for word, path in stage.get("meta", {}).get("compare", {}).items():
            found.setdefault(word, {})[name] = path
    return found
