"""What dvc.yaml says of its stages, read without DVC."""

from typing import Any


def expanded(written: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The stages by name, in the order in which they stand there.

    Of a stage that stands there once for each of several items (`foreach`), each is a stage, called NAME@ITEM as DVC
    calls it.

    Args:
        written: section `stages`, as parsed.
    """
    stages: dict[str, dict[str, Any]] = {}
    for name, stage in written.items():
        if "foreach" in stage:
            stages |= {f"{name}@{item}": _filled_in(stage["do"], item) for item in stage["foreach"]}
        else:
            stages[name] = stage
    return stages


def _filled_in(value: Any, item: str) -> Any:
    if isinstance(value, dict):
        return {_filled_in(key, item): _filled_in(inner, item) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled_in(inner, item) for inner in value]
    return value.replace("${item}", item) if isinstance(value, str) else value
