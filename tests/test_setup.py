"""Setting up: which wheel of Paddle `make` puts into the environment, and what the lock files hold."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

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


def test_both_locks_hold_the_same_packages_but_for_paddle() -> None:
    """What is measured on one is measured on the other; no address of an index is in either."""
    cpu, gpu = pins(LOCKS["cpu"]), pins(LOCKS["gpu"])
    assert cpu.pop("paddlepaddle") == "3.2.2"
    assert gpu == cpu
    assert len(cpu) > 100
    for lock in LOCKS.values():
        assert not re.search(r"(?m)https?://|^--", lock.read_text()), lock


def test_one_version_of_paddle_everywhere() -> None:
    """Both extras, the Makefile and the README name the same; uv takes the GPU's wheel from Paddle's index alone."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    assert "paddlepaddle==3.2.2" in extras["cpu"]
    assert "paddlepaddle-gpu==3.2.2" in extras["gpu"]
    (index,) = project["tool"]["uv"]["index"]
    assert project["tool"]["uv"]["sources"]["paddlepaddle-gpu"] == {"index": index["name"]}
    assert index["explicit"] is True
    for name in ("Makefile", "README.md"):
        text = (ROOT / name).read_text()
        assert set(re.findall(r"paddlepaddle-gpu==([\d.]+)", text)) == {"3.2.2"}, name
        assert index["url"] in text, name
