"""The child that a program is checked in: it waits for its request, and nothing of it stays behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import networks
import pytest

from backprop_doctor import worker
from backprop_doctor.errors import CannotCheckError

HEALTHY = networks.FOLDER / "healthy" / "adam_l2_dropout.py"


def asked(path: Path) -> dict[str, object]:
    return worker.run("check", {"path": str(path), "fix": False}, time_limit=60, memory_limit_mib=4096)


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "backprop_doctor", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(folder)},
    )


def test_a_child_that_was_started_early_answers_like_any_other() -> None:
    worker.start_early()
    early, late = asked(HEALTHY), asked(HEALTHY)
    for answer in (early, late):
        answer["report"]["seconds"] = 0  # type: ignore[index]
    assert early == late


@pytest.mark.parametrize("arguments", [["check", "gone.py"], ["check", "--sed", "3"], ["trace"]])
def test_wrong_use_leaves_no_child_and_no_folder(tmp_path: Path, arguments: list[str]) -> None:
    assert command(tmp_path, *arguments).returncode == 2
    assert not list(tmp_path.iterdir())


def test_a_check_leaves_no_folder(tmp_path: Path) -> None:
    assert command(tmp_path, "check", str(HEALTHY)).returncode == 0
    assert not list(tmp_path.iterdir())


def test_a_child_that_was_ended_before_it_was_asked_is_told_of() -> None:
    worker.start_early()
    worker._early[0].kill()
    worker._early[0]._process.wait()
    with pytest.raises(CannotCheckError, match="killed"):
        asked(HEALTHY)
