"""Other projects' checkpoints give other projects' predictions."""

import io
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import paddle
import pytest

from helpers.foreign import (
    in_mit_han_lab_names,
    in_mmaction2_names,
    numpy_tsm,
    random_tsm,
    torch_stream,
    torch_zip,
    write,
)
from helpers.networks import seeded_state
from pptsm.model.network import VideoNetwork, build_model
from pptsm.weights.adapters import convert_keys
from pptsm.weights.loading import load_weights
from pptsm.weights.state_dict import WeightsError, read_weights, write_arrays

CLIPS = np.random.default_rng(3).normal(0, 1, (2, 4, 3, 32, 32)).astype(np.float32)


def logits_of(model: VideoNetwork) -> np.ndarray:
    model.eval()
    with paddle.no_grad():
        return model(paddle.to_tensor(CLIPS)).numpy()


@pytest.mark.parametrize("depth", [50, 101])
@pytest.mark.parametrize("dialect", [in_mit_han_lab_names, in_mmaction2_names])
@pytest.mark.parametrize("container", [torch_zip, torch_stream])
def test_a_foreign_tsm_gives_the_logits_of_an_independent_network(
    tmp_path: Path, depth: int, dialect, container
) -> None:
    """Names, transposed last layer, shift direction, stem, ReLU: the numpy network knows them by itself."""
    arrays = random_tsm(depth, 8, 5)
    path = write(tmp_path / "tsm.pth", container(dialect(arrays)))
    model = build_model("tsm", depth, 5, 4, width=0.125)  # type: ignore[arg-type]
    report = load_weights(model, path)
    assert report.coverage == 1
    assert [*report.missing, *report.unexpected, *report.reinitialised, *report.wrong_shape] == []
    expected = numpy_tsm(arrays, depth, CLIPS)
    assert np.abs(logits_of(model) - expected).max() / np.abs(expected).max() < 1e-4


def pptsm_model() -> tuple[VideoNetwork, dict[str, np.ndarray]]:
    model = build_model("pptsm", 18, 5, 4, width=0.125)
    state = seeded_state(model)
    model.set_state_dict(state)
    return model, state


def paddleclas_newer(name: str, blocks: list[str]) -> str:
    """Our trunk names in the newer naming: stem.0.conv.weight, blocks.3.short.bn._mean."""
    name = name.removeprefix("backbone.").replace("_conv.weight", "conv.weight").replace("_batch_norm.", "bn.")
    name = re.sub(r"^conv1_(\d)", lambda part: f"stem.{int(part[1]) - 1}", name)
    return re.sub(r"^bb_\d+_\d+", lambda part: f"blocks.{blocks.index(part[0])}", name)


DIALECTS = {
    "official": lambda name, _: name,
    "distilled": lambda name, _: f"Student.{name}",
    "distilled, numbered": lambda name, _: "Student." + name.replace("backbone.", "0.", 1).replace("head.", "1.", 1),
    "ImageNet, older names": lambda name, _: name.removeprefix("backbone."),
    "ImageNet, newer names": paddleclas_newer,
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_paddle_files_in_every_naming_fill_the_network(tmp_path: Path, dialect: str) -> None:
    """The trunk completely; the head where it is one of ours (ImageNet's 1000 classes are left aside)."""
    source, state = pptsm_model()
    imagenet = dialect.startswith("ImageNet")
    rename = DIALECTS[dialect]
    blocks = source.backbone.block_names
    arrays = {rename(name, blocks): array for name, array in state.items() if not (imagenet and "head" in name)}
    if imagenet:
        last = "out" if "older" in dialect else "fc"
        arrays |= {f"{last}.weight": np.ones((64, 1000), np.float32), f"{last}.bias": np.ones(1000, np.float32)}
    if "distilled" in dialect:
        arrays["Teacher.backbone.conv1_1._conv.weight"] = np.ones((8, 3, 3, 3), np.float32)
    write_arrays(tmp_path / "w.pdparams", arrays)
    model = build_model("pptsm", 18, 5, 4, width=0.125)
    report = load_weights(model, tmp_path / "w.pdparams")
    assert report.coverage == 1
    assert [*report.missing, *report.unexpected, *report.wrong_shape] == []
    assert bool(report.reinitialised) == imagenet
    if not imagenet:
        np.testing.assert_array_equal(logits_of(model), logits_of(source))


def test_a_new_head_is_one_switch(tmp_path: Path) -> None:
    """As many classes, but other ones: the file's last layer is not taken."""
    _, state = pptsm_model()
    write_arrays(tmp_path / "w.pdparams", state)
    model = build_model("pptsm", 18, 5, 4, width=0.125)
    before = model.head.fc.weight.numpy().copy()
    report = load_weights(model, tmp_path / "w.pdparams", new_head=True)
    assert report.reinitialised == ["head.fc.weight", "head.fc.bias"]
    np.testing.assert_array_equal(model.head.fc.weight.numpy(), before)


def test_tsm_weights_do_not_fit_pptsm(tmp_path: Path) -> None:
    """Two different networks of 50 layers: an error that shows why."""
    path = write(tmp_path / "tsm.pth", torch_zip(in_mmaction2_names(random_tsm(50, 8, 5))))
    with pytest.raises(
        WeightsError, match=r"does not fit this network.*conv1_1.* is missing; .*conv1\..* has no place here"
    ):
        load_weights(build_model("pptsm", 50, 5, 4, width=0.125), path)


def test_a_deeper_networks_file_does_not_fit_a_shallower_one(tmp_path: Path) -> None:
    """R101 has all names of R50, in the same shapes, and more: the rest must not be dropped in silence."""
    state = seeded_state(build_model("pptsm", 101, 5, 4, width=0.125))
    write_arrays(tmp_path / "r101.pdparams", state)
    with pytest.raises(WeightsError, match=r"fills 100.0% .* has 255 arrays without a place"):
        load_weights(build_model("pptsm", 50, 5, 4, width=0.125), tmp_path / "r101.pdparams")


class Evil:
    """Unpickling it would run a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("container", [torch_zip, torch_stream])
def test_a_malicious_pth_is_refused_and_does_nothing(tmp_path: Path, container) -> None:
    """In both of PyTorch's formats."""
    path = write(tmp_path / "evil.pth", container({"state_dict": {"x": Evil(tmp_path / "ran")}}))
    with pytest.raises(WeightsError, match=r"evil.pth was refused: .*system"):
        read_weights(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("container", [torch_zip, torch_stream])
def test_a_truncated_pth_is_called_cut_off(tmp_path: Path, container) -> None:
    """Wherever the file ends."""
    data = container(in_mmaction2_names(random_tsm(50, 8, 5)))
    for share in (0.02, 0.5, 0.98):
        path = write(tmp_path / "cut.pth", data[: int(len(data) * share)])
        with pytest.raises(WeightsError, match=r"cut off|end before|was refused"):
            read_weights(path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """A small file that would fill memory."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x00" * 50_000_000)
    with pytest.raises(WeightsError, match="times its own size"):
        read_weights(write(tmp_path / "bomb.pth", buffer.getvalue()))


def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    """Strides come from the file; memory beyond the storage must not be read."""
    data = bytearray(torch_zip({"x": np.zeros((2, 3), np.float32)}))
    pickled = data.index(b"K\x02K\x03")  # the shape (2, 3)
    data[pickled + 1] = 200
    path = tmp_path / "far.pth"
    # the archive's checksum would catch it first: write the changed pickle anew
    with zipfile.ZipFile(io.BytesIO(torch_zip({"x": np.zeros((2, 3), np.float32)}))) as good:
        members = {name: good.read(name) for name in good.namelist()}
    members["archive/data.pkl"] = members["archive/data.pkl"].replace(b"K\x02K\x03", b"K\xc8K\x03", 1)
    with zipfile.ZipFile(path, "w") as bad:
        for name, content in members.items():
            bad.writestr(name, content)
    with pytest.raises(WeightsError, match="reaches beyond its storage"):
        read_weights(path)


def test_files_of_the_real_pytorch_are_read(tmp_path: Path) -> None:
    """Both formats, several element types, a transposed view; only where PyTorch happens to be installed."""
    torch = pytest.importorskip("torch", reason="PyTorch is no dependency of this project")
    tensors = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor([1, 2]), "c": torch.ones(3).half()}
    for zipped in (True, False):
        torch.save({"state_dict": tensors}, tmp_path / "t.pth", _use_new_zipfile_serialization=zipped)
        state = read_weights(tmp_path / "t.pth")["state_dict"]
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(state[name], tensor.numpy())


def test_a_block_that_this_network_has_not_keeps_its_name() -> None:
    """The first one beyond the last: it is then unexpected, not an index out of range."""
    found = {f"blocks.{number}.conv0.conv.weight": np.zeros(1) for number in (1, 2)}
    own, ignored = convert_keys(found, (), ["bb_0_0", "bb_0_1"])
    assert set(own) == {"backbone.bb_0_1.conv0._conv.weight", "blocks.2.conv0.conv.weight"}
    assert ignored == []
