"""The names that other projects give to the same weights, translated to those of `pptsm.model.network`.

Known dialects: PaddleVideo PP-TSM and PP-TSMv2 (our own names), with or without the trunk's prefix, their distilled
files (`Student.`, beside it `Teacher.`), ImageNet files in PaddleClas's older and newer names, TSM of mit-han-lab,
TSM of mmaction2 1.x.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

TORCH_NORM = {"weight": "weight", "bias": "bias", "running_mean": "_mean", "running_var": "_variance"}
# Parts of a file that no network of ours has a place for, and that nobody misses.
WITHOUT_USE = re.compile(r"(^|\.)num_batches_tracked$|^Teacher\.|^out\.(weight|bias)$|^fc\.(weight|bias)$")


def state_dict_in(content: Any) -> Arrays:
    """The arrays of a file's object by name: the object itself, or what it keeps under `state_dict`.

    Returns:
        An empty dict where there is no state dict.
    """
    while isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        return {}
    return {str(name): np.asarray(value) for name, value in content.items() if isinstance(value, np.ndarray)}


def to_own_names(found: Arrays, known: Collection[str], blocks: list[str]) -> tuple[Arrays, list[str]]:
    """Translate names (and transpose PyTorch's last layer).

    Args:
        found: arrays by the file's names.
        known: our names: families use the same words for different parts, and one's own come first.
        blocks: our block names in order ("bb_0_0", "bb_0_1", ...), for files that number blocks through.

    Returns:
        Arrays by our names (a name that no dialect knows stays as it is), and the names of those that are
        of no use to any network.
    """
    own: Arrays = {}
    ignored = []
    for name, array in found.items():
        bare = _without_wrapping(name)
        ours = next((candidate for candidate in (bare, f"backbone.{bare}") if candidate in known), None)
        if ours is None and WITHOUT_USE.search(name):
            ignored.append(name)
            continue
        is_torch_linear = name.endswith(("new_fc.weight", "fc_cls.weight"))
        own[ours or _translate(bare, blocks)] = array.T if is_torch_linear else array
    return own, ignored


def _without_wrapping(name: str) -> str:
    name = name.removeprefix("module.")
    if name.startswith("Student."):
        name = name.removeprefix("Student.")
        name = re.sub(r"^0\.", "backbone.", name)
        name = re.sub(r"^1\.", "head.", name)
    return name


def _translate(name: str, blocks: list[str]) -> str:
    rules = (_imagenet_older, _imagenet_newer, _mit_han_lab, _mmaction2)
    return next((own for rule in rules if (own := rule(name, blocks))), name)


def _imagenet_older(name: str, _: list[str]) -> str | None:
    return f"backbone.{name}" if re.match(r"(conv1_[123]|bb_\d+_\d+)\.", name) else None


def _imagenet_newer(name: str, blocks: list[str]) -> str | None:
    part = re.fullmatch(r"(?:backbone\.)?(stem|blocks)\.(\d+)\.(?:(conv\d|short)\.)?(conv|bn)\.(\w+)", name)
    if not part:
        return None
    where, number, layer, kind, value = part.groups()
    leaf = "_conv.weight" if kind == "conv" else f"_batch_norm.{value}"
    if where == "stem":
        return f"backbone.conv1_{int(number) + 1}.{leaf}"
    if int(number) >= len(blocks):
        return None
    return f"backbone.{blocks[int(number)]}.{layer}.{leaf}"


def _mit_han_lab(name: str, _: list[str]) -> str | None:
    if name.startswith("new_fc."):
        return name.replace("new_fc.", "head.fc.")
    if not name.startswith("base_model."):
        return None
    name = name.removeprefix("base_model.")
    if stem := re.fullmatch(r"(conv|bn)1\.(\w+)", name):
        return f"backbone.conv1.{_torch_leaf(*stem.groups())}"
    if block := re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn)(\d)\.(?:net\.)?(\w+)", name):
        stage, index, kind, layer, value = block.groups()
        return f"backbone.bb_{int(stage) - 1}_{index}.conv{int(layer) - 1}.{_torch_leaf(kind, value)}"
    if short := re.fullmatch(r"layer(\d)\.(\d+)\.downsample\.([01])\.(\w+)", name):
        stage, index, part, value = short.groups()
        return f"backbone.bb_{int(stage) - 1}_{index}.short.{_torch_leaf('conv' if part == '0' else 'bn', value)}"
    return None


def _mmaction2(name: str, _: list[str]) -> str | None:
    if name.startswith("cls_head.fc_cls."):
        return name.replace("cls_head.fc_cls.", "head.fc.")
    if stem := re.fullmatch(r"backbone\.conv1\.(conv|bn)\.(\w+)", name):
        return f"backbone.conv1.{_torch_leaf(*stem.groups())}"
    part = re.fullmatch(r"backbone\.layer(\d)\.(\d+)\.(conv(\d)|downsample)\.(conv|bn)\.(?:net\.)?(\w+)", name)
    if not part:
        return None
    stage, index, layer, number, kind, value = part.groups()
    own = "short" if layer == "downsample" else f"conv{int(number) - 1}"
    return f"backbone.bb_{int(stage) - 1}_{index}.{own}.{_torch_leaf(kind, value)}"


def _torch_leaf(kind: str, value: str) -> str:
    return "_conv.weight" if kind == "conv" else f"_batch_norm.{TORCH_NORM.get(value, value)}"
