"""Setting up: which wheel of Paddle `make` puts into the environment, and what the lock files hold."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker

from conftest import ROOT

LOCKS = {"cpu": ROOT / "requirements.lock", "gpu": ROOT / "requirements-gpu.lock"}


def pins(lock: Path) -> dict[str, str]:
    """Package -> version."""
    return dict(re.findall(r"(?m)^([\w.-]+)==(\S+)", lock.read_text()))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that decide what `make setup` installs; no environment yet."""
    for name in ("Makefile", "pyproject.toml", *(lock.name for lock in LOCKS.values())):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def set_up(checkout: Path, paddle: str) -> None:
    """As `make setup` leaves it, but for the packages."""
    (checkout / ".venv").mkdir(exist_ok=True)
    (checkout / ".venv" / "ready").write_text(f"{paddle}\n")


def installs(checkout: Path, *arguments: str) -> str:
    """The commands that `make` would run to set up, without running them."""
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "PADDLE")}
    done = subprocess.run(
        ["make", "--dry-run", *arguments], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return "\n".join(line for line in done.stdout.splitlines() if " -m pip " in line)


def newer(path: Path) -> None:
    """As after a `git pull` that changed it."""
    later = path.stat().st_mtime + 100
    os.utime(path, (later, later))


def test_the_cpu_is_the_default(checkout: Path) -> None:
    """Locked with hashes, and no wheel for a GPU."""
    commands = installs(checkout, "repro")
    assert "--require-hashes -r requirements.lock" in commands
    assert "install paddlepaddle-gpu" not in commands


def test_a_gpu_takes_the_other_lock_and_paddles_own_index(checkout: Path) -> None:
    """The CPU's wheel is taken out first: both fill the same folder."""
    commands = installs(checkout, "setup", "PADDLE=gpu").splitlines()
    found = [next(n for n, line in enumerate(commands) if part in line) for part in (
        "uninstall --quiet --yes paddlepaddle",
        "--require-hashes -r requirements-gpu.lock",
        "install paddlepaddle-gpu==3.2.2 --index-url https://www.paddlepaddle.org.cn/packages/stable/cu126/",
    )]  # fmt: skip
    assert found == sorted(found)
    assert not any("-r requirements.lock" in line for line in commands)


def test_an_environment_for_a_gpu_stays_one(checkout: Path) -> None:
    """`make repro` puts no CPU wheel on top, even when the locks have changed since."""
    set_up(checkout, "gpu")
    for name in ("requirements.lock", "requirements-gpu.lock", "pyproject.toml"):
        newer(checkout / name)
    commands = installs(checkout, "repro")
    assert "-r requirements-gpu.lock" in commands
    assert "-r requirements.lock" not in commands


def test_nothing_is_installed_where_nothing_changed(checkout: Path) -> None:
    """For either wheel, however `make` is called."""
    for paddle in ("cpu", "gpu"):
        set_up(checkout, paddle)
        newer(checkout / ".venv" / "ready")
        assert installs(checkout, "test") == ""
        assert installs(checkout, "test", f"PADDLE={paddle}") == ""


def test_the_wheel_can_be_changed(checkout: Path) -> None:
    """Asking for the other one installs it, though no file is newer."""
    set_up(checkout, "gpu")
    newer(checkout / ".venv" / "ready")
    commands = installs(checkout, "setup", "PADDLE=cpu")
    assert "uninstall --quiet --yes paddlepaddle-gpu" in commands
    assert "-r requirements.lock" in commands


def test_a_wheel_that_does_not_exist_is_refused(checkout: Path) -> None:
    """A typing mistake must not set up for a CPU."""
    done = subprocess.run(["make", "setup", "PADDLE=gpus"], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert 'PADDLE is "gpus", but it is cpu or gpu' in done.stderr


def interpreter(folder: Path, name: str, version: str, module: str = "venv") -> Path:
    """A program that answers as a Python of a version does, one that has this module of the two it needs, or both."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    fits = version in ("3.11", "3.12") and module == "venv"
    file.write_text(f"#!/bin/sh\n{f'echo {version}' if fits else 'exit 1'}\n")
    file.chmod(0o755)
    return file


@pytest.fixture
def machine(checkout: Path) -> Path:
    """A folder with what `make` itself needs and no Python, to be the whole PATH."""
    folder = checkout / "bin"
    folder.mkdir()
    for name in ("bash", "cat", "make", "sh"):
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


def makes(checkout: Path, *arguments: str, path: Path) -> subprocess.CompletedProcess[str]:
    """What `make --dry-run setup` says where this is the PATH."""
    environment = {"PATH": str(path), "HOME": os.environ.get("HOME", "/")}
    command = ["make", "--dry-run", "setup", *arguments]
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("there", "taken"), [
    ({"python3.11": "3.11", "python3.12": "3.12"}, "python3.11"),
    ({"python3.12": "3.12", "python3": "3.13"}, "python3.12"),
    ({"python3": "3.12"}, "python3"),
    ({"python3.11": "3.13", "python3": "3.12"}, "python3"),  # a name may lie
])  # fmt: skip
def test_either_python_makes_the_environment(checkout: Path, machine: Path, there: dict[str, str], taken: str) -> None:
    """The first that fits, by what it says of itself."""
    for name, version in there.items():
        interpreter(machine, name, version)
    assert f"{taken} -m venv .venv" in makes(checkout, path=machine).stdout


@pytest.mark.parametrize("there", [{}, {"python3": "3.10"}, {"python3.11": "3.13"}])
def test_where_no_python_fits_a_sentence_says_what_to_install(
    checkout: Path, machine: Path, there: dict[str, str]
) -> None:
    """With what was looked for; nothing is set up."""
    for name, version in there.items():
        interpreter(machine, name, version)
    done = makes(checkout, path=machine)
    assert done.returncode != 0
    assert "there is no Python 3.11 or 3.12 that can make environments: looked for python3.11 python3.12" in done.stderr
    assert "apt-get install python3.11-venv" in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_python_that_is_named_must_fit(checkout: Path, machine: Path) -> None:
    """Another version, one without venv, and none at all."""
    interpreter(machine, "python3.11", "3.11")
    for file in (interpreter(machine, "old", "3.10"), interpreter(machine, "bare", "3.12", "none"), machine / "absent"):
        done = makes(checkout, f"PYTHON={file}", path=machine)
        assert done.returncode != 0
        assert f"{file} is no Python 3.11 or 3.12 that can make environments" in done.stderr
    assert "new -m venv" in makes(checkout, f"PYTHON={interpreter(machine, 'new', '3.12')}", path=machine).stdout


def test_an_environment_keeps_its_python(checkout: Path, machine: Path) -> None:
    """A new lock changes packages, not the Python; asking for another makes the environment anew, the same does not."""
    for name, version in (("python3.11", "3.11"), ("python3.12", "3.12")):
        interpreter(machine, name, version)
    (checkout / ".venv").mkdir()
    interpreter(checkout / ".venv" / "bin", "python", "3.12")
    set_up(checkout, "cpu")
    newer(checkout / "requirements.lock")
    assert ".venv/bin/python -m venv .venv" in makes(checkout, path=machine).stdout
    newer(checkout / ".venv" / "ready")
    newer(checkout / ".venv" / "ready")  # than the lock is
    assert " -m venv" not in makes(checkout, path=machine).stdout
    assert " -m venv" not in makes(checkout, "PYTHON=python3.12", path=machine).stdout
    assert "python3.11 -m venv --clear .venv" in makes(checkout, "PYTHON=python3.11", path=machine).stdout


def test_the_locks_are_for_both_pythons_and_every_platform() -> None:
    """By markers: decord and, for Linux, Paddle have no wheel for arm64."""
    for lock in LOCKS.values():
        text = lock.read_text()
        lines = {line.split("==")[0]: line for line in text.splitlines() if re.match(r"[\w.-]+==", line)}
        for python, system, machine, without in (
            ("3.11", "linux", "x86_64", set()),
            ("3.12", "linux", "x86_64", set()),
            ("3.12", "linux", "aarch64", {"decord", "paddlepaddle", "paddle2onnx"}),
            ("3.11", "darwin", "arm64", {"decord"}),
        ):
            where = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": system}
            where |= {"platform_machine": machine, "implementation_name": "cpython"}
            where |= {"platform_python_implementation": "CPython", "extra": ""}
            absent = {name for name, line in lines.items() if not applies(line, where)}
            assert absent & {"decord", "paddlepaddle", "paddle2onnx", "av", "onnxruntime"} == without & set(lines), (
                where
            )
            assert text.count("--hash=sha256:") > 1000


def applies(line: str, where: dict[str, str]) -> bool:
    """Whether the marker of a line of a lock holds on a machine."""
    _, _, marker = line.removesuffix(" \\").partition(" ; ")
    return not marker or Marker(marker).evaluate(where)


def test_both_locks_hold_the_same_packages_but_for_paddle() -> None:
    """What is measured on one is measured on the other; no address of an index is in either."""
    cpu, gpu = pins(LOCKS["cpu"]), pins(LOCKS["gpu"])
    assert cpu.pop("paddlepaddle") == "3.2.2"
    assert gpu == cpu
    assert len(cpu) > 100
    for lock in LOCKS.values():
        assert not re.search(r"(?m)https?://|^--", lock.read_text()), lock


def test_one_version_of_paddle_everywhere() -> None:
    """Both extras, the Makefile and docs/gpu.md name the same; uv takes the GPU's wheel from Paddle's index alone."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    assert extras["cpu"][0].startswith("paddlepaddle==3.2.2;")
    assert "paddlepaddle-gpu==3.2.2" in extras["gpu"]
    (index,) = project["tool"]["uv"]["index"]
    assert project["tool"]["uv"]["sources"]["paddlepaddle-gpu"] == {"index": index["name"]}
    assert index["explicit"] is True
    for name in ("Makefile", "docs/gpu.md"):
        text = (ROOT / name).read_text()
        assert set(re.findall(r"paddlepaddle-gpu==([\d.]+)", text)) == {"3.2.2"}, name
        assert index["url"] in text, name
