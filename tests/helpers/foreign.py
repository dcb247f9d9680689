"""Checkpoints in other projects' names and formats, and a TSM computed in plain numpy.

The files are written byte by byte as PyTorch writes them, without PyTorch; the numpy network knows
nothing of the package's own.
"""

import io
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
STORAGE = {"float32": "FloatStorage", "int64": "LongStorage", "uint16": "BFloat16Storage"}


class _Global:
    """Pickles as a reference to a class or function that need not exist here."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class _TorchPickler(pickle._Pickler):
    """Writes arrays as PyTorch tensors: a call of _rebuild_tensor_v2 on a persistent storage."""

    def __init__(self, file: io.BytesIO, storages: list[np.ndarray], *, zipped: bool) -> None:
        super().__init__(file, protocol=2)
        self.storages, self.zipped = storages, zipped

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, _Global):
            self.write(b"c" + f"{obj.module}\n{obj.name}\n".encode())
            return
        if isinstance(obj, np.ndarray):
            key = str(len(self.storages))
            obj = np.array(obj, order="C")
            self.storages.append(obj)
            strides = tuple(step // obj.itemsize for step in obj.strides)
            self.save(_Global("torch._utils", "_rebuild_tensor_v2"))
            self.write(pickle.MARK)
            pid = ("storage", _Global("torch", STORAGE[obj.dtype.name]), key, "cpu", obj.size)
            self._save_tuple(pid if self.zipped else (*pid, None))
            self.write(pickle.BINPERSID)
            for part in (0, obj.shape, strides, False, OrderedDict()):
                super().save(part)
            self.write(pickle.TUPLE + pickle.REDUCE)
            return
        super().save(obj, save_persistent_id)

    def _save_tuple(self, parts: tuple[Any, ...]) -> None:
        self.write(pickle.MARK)
        for part in parts:
            self.save(part)
        self.write(pickle.TUPLE)


def torch_zip(content: Any) -> bytes:
    """A file as torch.save writes it since 1.6."""
    body, storages, out = io.BytesIO(), [], io.BytesIO()
    _TorchPickler(body, storages, zipped=True).dump(content)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", body.getvalue())
        archive.writestr("archive/version", "3\n")
        for key, storage in enumerate(storages):
            archive.writestr(f"archive/data/{key}", storage.tobytes())
    return out.getvalue()


def torch_stream(content: Any) -> bytes:
    """A file as torch.save wrote it before 1.6."""
    body, storages = io.BytesIO(), []
    _TorchPickler(body, storages, zipped=False).dump(content)
    out = [pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2)]
    out += [pickle.dumps({"little_endian": True}, 2), body.getvalue()]
    out.append(pickle.dumps([str(key) for key in range(len(storages))], 2))
    out += [struct.pack("<q", storage.size) + storage.tobytes() for storage in storages]
    return b"".join(out)


def names_in(data: bytes) -> set[str]:
    """Globals that a pickle refers to, for checking the writer."""
    return {str(arg) for op, arg, _ in pickletools.genops(data) if op.name == "GLOBAL"}


DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def random_tsm(depth: int, width: int, classes: int) -> Arrays:
    """Weights of a plain TSM ResNet with `width` channels in its first stage, by neutral names."""
    rng, arrays = np.random.default_rng(7), {}

    def conv(name: str, out: int, into: int, kernel: int) -> None:
        arrays[f"{name}.conv"] = rng.normal(0, np.sqrt(1.6 / (into * kernel**2)), (out, into, kernel, kernel))
        for part, low, high in (("weight", 0.6, 1), ("bias", -0.1, 0.1), ("mean", -0.1, 0.1), ("var", 0.5, 1.5)):
            arrays[f"{name}.{part}"] = rng.uniform(low, high, out)

    conv("stem", width, 3, 7)
    into = width
    for stage, blocks in enumerate(DEPTHS[depth]):
        channels = width * 2**stage
        for block in range(blocks):
            name = f"{stage}.{block}"
            conv(f"{name}.0", channels, into, 1)
            conv(f"{name}.1", channels, channels, 3)
            conv(f"{name}.2", channels * 4, channels, 1)
            if block == 0:
                conv(f"{name}.short", channels * 4, into, 1)
            into = channels * 4
    arrays["fc.weight"] = rng.normal(0, 0.05, (classes, into))
    arrays["fc.bias"] = rng.normal(0, 0.05, classes)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def in_mit_han_lab_names(arrays: Arrays) -> dict[str, Any]:
    """`state_dict` with module.base_model..., shifted convolutions wrapped as `.net`."""
    norm = {"weight": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    state: dict[str, Any] = OrderedDict()
    for name, array in arrays.items():
        where, _, part = name.rpartition(".")
        if where == "fc":
            state[f"module.new_fc.{part}"] = array
        elif where == "stem":
            state["module.base_model." + ("conv1.weight" if part == "conv" else f"bn1.{norm[part]}")] = array
        else:
            stage, block, layer = where.split(".")
            base = f"module.base_model.layer{int(stage) + 1}.{block}."
            if layer == "short":
                leaf = "downsample.0.weight" if part == "conv" else f"downsample.1.{norm[part]}"
            elif part == "conv":
                leaf = f"conv{int(layer) + 1}.{'net.' if layer == '0' else ''}weight"
            else:
                leaf = f"bn{int(layer) + 1}.{norm[part]}"
            state[base + leaf] = array
            if part == "var":
                state[base + leaf.replace("running_var", "num_batches_tracked")] = np.array(9, dtype=np.int64)
    return {"epoch": 50, "arch": "resnet50", "state_dict": state, "best_prec1": 71.2}


def in_mmaction2_names(arrays: Arrays) -> dict[str, Any]:
    """mmaction2 1.x: backbone.layer1.0.conv1.conv.net.weight, cls_head.fc_cls.weight."""
    norm = {"weight": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
    state: dict[str, Any] = OrderedDict()
    for name, array in arrays.items():
        where, _, part = name.rpartition(".")
        leaf = "conv.weight" if part == "conv" else f"bn.{norm.get(part, part)}"
        if where == "fc":
            state[f"cls_head.fc_cls.{part}"] = array
        elif where == "stem":
            state[f"backbone.conv1.{leaf}"] = array
        else:
            stage, block, layer = where.split(".")
            own = "downsample" if layer == "short" else f"conv{int(layer) + 1}"
            if layer == "0" and part == "conv":
                leaf = "conv.net.weight"
            state[f"backbone.layer{int(stage) + 1}.{block}.{own}.{leaf}"] = array
    return {"meta": {"epoch": 50, "dataset_meta": {"classes": ["a", "b"]}}, "state_dict": state}


def numpy_tsm(arrays: Arrays, depth: int, clips: np.ndarray) -> np.ndarray:
    """Logits [N, K] of clips [N, T, 3, H, W]: 7x7 stem, ReLU, [0, C/8) from t+1, classified frame by frame."""
    n, t = clips.shape[:2]
    x = _pool(np.maximum(_conv_norm(arrays, "stem", clips.reshape(n * t, *clips.shape[2:]), 2), 0))
    every = 2 if DEPTHS[depth][2] >= 23 else 1
    for stage, blocks in enumerate(DEPTHS[depth]):
        for block in range(blocks):
            name, stride = f"{stage}.{block}", 2 if stage and not block else 1
            y = _shift(x, t) if block % every == 0 else x
            y = np.maximum(_conv_norm(arrays, f"{name}.0", y, 1), 0)
            y = np.maximum(_conv_norm(arrays, f"{name}.1", y, stride), 0)
            y = _conv_norm(arrays, f"{name}.2", y, 1)
            x = np.maximum(y + (_conv_norm(arrays, f"{name}.short", x, stride) if not block else x), 0)
    per_frame = x.mean(axis=(2, 3)) @ arrays["fc.weight"].T + arrays["fc.bias"]
    return per_frame.reshape(n, t, -1).mean(axis=1)


def _shift(x: np.ndarray, t: int) -> np.ndarray:
    fold = x.shape[1] // 8
    clips, out = x.reshape(-1, t, *x.shape[1:]), x.reshape(-1, t, *x.shape[1:]).copy()
    out[:, :, : 2 * fold] = 0
    out[:, :-1, :fold] = clips[:, 1:, :fold]
    out[:, 1:, fold : 2 * fold] = clips[:, :-1, fold : 2 * fold]
    return out.reshape(x.shape)


def _windows(x: np.ndarray, kernel: int, stride: int, pad: int, fill: float) -> np.ndarray:
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=fill)
    return np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]


def _conv_norm(arrays: Arrays, name: str, x: np.ndarray, stride: int) -> np.ndarray:
    weight = arrays[f"{name}.conv"]
    y = np.einsum(
        "nchwij,ocij->nohw", _windows(x, weight.shape[2], stride, weight.shape[2] // 2, 0), weight, optimize=True
    )
    scale = arrays[f"{name}.weight"] / np.sqrt(arrays[f"{name}.var"] + 1e-5)
    return y * scale[:, None, None] + (arrays[f"{name}.bias"] - arrays[f"{name}.mean"] * scale)[:, None, None]


def _pool(x: np.ndarray) -> np.ndarray:
    return _windows(x, 3, 2, 1, -np.inf).max(axis=(4, 5))


def write(path: Path, data: bytes) -> Path:
    """Write and return the path."""
    path.write_bytes(data)
    return path
