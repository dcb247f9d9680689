"""The names that other projects give to the same weights, translated to those of `pptsm.model.network`.

Known dialects: PaddleVideo PP-TSM and PP-TSMv2 (our own names), with or without the trunk's prefix, their distilled
files (`Student.`, beside it `Teacher.`), ImageNet files in PaddleClas's older and newer names, TSM of mit-han-lab,
TSM of mmaction2 1.x, EfficientNet-Lite of efficientnet_lite_pytorch. Around any of them there may be what a training
script wraps a network or its file in.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pptsm.weights.state_dict import WeightsError

Arrays = dict[str, NDArray[Any]]

TORCH_NORM = {"weight": "weight", "bias": "bias", "running_mean": "_mean", "running_var": "_variance"}
# Parts of a file that no network of ours has a place for, and that nobody misses.
WITHOUT_USE = re.compile(r"(^|\.)num_batches_tracked$|^Teacher\.|^out\.(weight|bias)$|^fc\.(weight|bias)$")


# Under which key a file keeps the network's arrays, the more specific first; an average of them is taken alone only.
STATE_DICTS = ("state_dict", "model_state_dict", "model_state", "model", "network", "net", "weights", "params")
# What a file keeps beside them, to go on with a training.
OF_TRAINING = re.compile(r"optim|^opt$|sched|scaler|amp|^lr|loss|meter|hook|message_hub|rng", re.IGNORECASE)
LEVELS = 4  # of dictionaries in dictionaries
# Parts of names that tools put around a network or one of its parts: paddle.DataParallel (`_layers`), PyTorch's
# (`module`), torch.compile (`_orig_mod`).
TRANSPARENT = {"module", "_layers", "_orig_mod"}
# What a training script calls its network, as the first part of all names.
WRAPPERS = {"model", "network", "net", "ema", "model_ema", "ema_model"}
OWN_WORDS = {"backbone", "head", "Student", "Teacher", "stem", "blocks", "base_model", "new_fc", "cls_head"}


def state_dict_in(content: Any) -> Arrays:
    """The arrays of a file's object by name: the object itself, or what it keeps under `state_dict` and the like.

    A Paddle tensor below the top of a file is the pair of its name and its array. Of a network and its moving average
    (`ema`) the network is taken.

    Returns:
        An empty dict where there is no state dict.

    Raises:
        WeightsError: there are several, under keys that do not say which is meant.
    """
    return _state_dict_in(content, LEVELS, set())


def _state_dict_in(content: Any, levels: int, seen: set[int]) -> Arrays:
    if not isinstance(content, Mapping) or levels == 0 or id(content) in seen:
        return {}
    seen.add(id(content))  # a dictionary may hold itself
    for key in STATE_DICTS:
        if inner := _state_dict_in(content.get(key), levels - 1, seen):
            return inner
    own = {str(name): array for name, value in content.items() if (array := _array_in(value)) is not None}
    if any(array.ndim for array in own.values()):
        return own
    others = {
        str(key): inner
        for key, value in content.items()
        if not OF_TRAINING.search(str(key)) and (inner := _state_dict_in(value, levels - 1, seen))
    }
    if set(others) <= {"backbone", "head"}:  # a network by its parts
        return {f"{part}.{name}": array for part, inner in others.items() for name, array in inner.items()} or own
    if len(others) > 1:
        raise WeightsError(
            f"it holds the arrays of several networks, under {', '.join(map(ascii, sorted(others)[:5]))}. Save the one "
            "that is meant in a file of its own."
        )
    return next(iter(others.values()))


def _array_in(value: Any) -> NDArray[Any] | None:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        value = value[1]
    return value if isinstance(value, np.ndarray) else None


def convert_keys(found: Arrays, known: Collection[str], blocks: list[str]) -> tuple[Arrays, list[str]]:
    """Translate names (and transpose PyTorch's last layer).

    Args:
        found: arrays by the file's names.
        known: our names: families use the same words for different parts, and one's own come first.
        blocks: our block names in order ("bb_0_0", "bb_0_1", ...), for files that number blocks through.

    Returns:
        Arrays by our names (a name that no dialect knows stays as it is), and the names of those that are
        of no use to any network.

    Raises:
        WeightsError: two different arrays stand for the same part of the network.
    """
    own: Arrays = {}
    origins: dict[str, str] = {}
    ignored = []
    for name, bare in zip(found, _without_wrapping(found, known), strict=True):
        candidates = (bare, f"backbone.{bare}", bare.removeprefix("backbone."))
        ours = next((candidate for candidate in candidates if candidate in known), None)
        if ours is None and WITHOUT_USE.search(bare):
            ignored.append(name)
            continue
        ours = ours or _translate(bare, blocks)
        of_torch = bare == "_fc.weight" or bare.endswith(("new_fc.weight", "fc_cls.weight"))
        array = found[name].T if of_torch else found[name]
        if ours in own and not np.array_equal(own[ours], array, equal_nan=True):
            raise WeightsError(
                f"its arrays {origins[ours]!a} and {name!a} both stand for {ours!a}, and differ. Save the network that "
                "is meant in a file of its own."
            )
        own[ours], origins[ours] = array, name
    return own, ignored


def _without_wrapping(names: Iterable[str], known: Collection[str]) -> list[str]:
    """The names without what tools and scripts put before them."""
    bare = [_without_wrappers(name, known) for name in names]
    # one word before all of them, whatever it is
    while len(words := {name.partition(".")[0] for name in bare}) == 1:
        (word,) = words
        shorter = [name.partition(".")[2] for name in bare]
        if word in OWN_WORDS or not all(shorter) or any(name in known for name in bare):
            break
        bare = [_without_wrappers(name, known) for name in shorter]
    return [_without_student(name) for name in bare]


def _without_wrappers(name: str, known: Collection[str]) -> str:
    name = ".".join(part for part in name.split(".") if part not in TRANSPARENT)
    while name not in known and name.partition(".")[0] in WRAPPERS:
        name = name.partition(".")[2]
    return name


def _without_student(name: str) -> str:
    if name.startswith("Student."):
        name = name.removeprefix("Student.")
        name = re.sub(r"^0\.", "backbone.", name)
        name = re.sub(r"^1\.", "head.", name)
    return name


def _translate(name: str, blocks: list[str]) -> str:
    rules = (_imagenet_older, _imagenet_newer, _mit_han_lab, _mmaction2, _efficientnet_pytorch)
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


# Layers of a block: the convolution and the norm after it.
EFFICIENTNET_LAYERS = {
    "_expand_conv": "expand", "_bn0": "expand", "_depthwise_conv": "depthwise", "_bn1": "depthwise",
    "_project_conv": "project", "_bn2": "project",
}  # fmt: skip
EFFICIENTNET_ENDS = {"_conv_stem": "conv_stem", "_bn0": "conv_stem", "_conv_head": "conv_head", "_bn1": "conv_head"}


def _efficientnet_pytorch(name: str, _: list[str]) -> str | None:
    if name.startswith("_fc."):
        return name.replace("_fc.", "head.fc.")
    part = re.fullmatch(r"(?:_blocks\.(\d+)\.)?(_\w+)\.(\w+)", name)
    if not part:
        return None
    number, layer, value = part.groups()
    own = (EFFICIENTNET_ENDS if number is None else EFFICIENTNET_LAYERS).get(layer)
    if own is None:
        return None
    where = own if number is None else f"blocks.{number}.{own}"
    return f"backbone.{where}.{_torch_leaf('bn' if layer.startswith('_bn') else 'conv', value)}"


def _torch_leaf(kind: str, value: str) -> str:
    return "_conv.weight" if kind == "conv" else f"_batch_norm.{TORCH_NORM.get(value, value)}"
