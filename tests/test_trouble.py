"""Programs that cannot be checked, or look as if they could not: one sentence, the right exit code, nothing lost.

Each fixture says in its first lines what is expected of it: ``# exit: 3``, ``# says: waits for input``, and
``# time limit: 2`` or ``# memory limit: 700`` where it is to be checked with limits of its own.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import networks
import pytest
from click.testing import CliRunner, Result

from backprop_doctor.cli import cli

FOLDER = networks.FOLDER / "trouble"
PROGRAMS = sorted(FOLDER.glob("*.py"))


def checked(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["check", *map(str, arguments)], prog_name="backprop-doctor")


def asked(path: Path, what: str) -> list[str]:
    text = path.read_bytes().decode("utf-8", errors="replace")
    return re.findall(rf"^# {what}: (.*)$", text, re.MULTILINE)


def said(result: Result) -> str:
    """The report without its line breaks."""
    return re.sub(r"\s+", " ", result.output)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_trouble_is_said_in_one_sentence(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kept.txt").write_text("kept", encoding="utf-8")
    program = Path(shutil.copy(path, tmp_path))
    monkeypatch.chdir(tmp_path)
    limits = [f"--{what}-limit={value}" for what in ("time", "memory") for value in asked(path, f"{what} limit")]
    result = checked(program.name, *limits)
    assert [str(result.exit_code)] == asked(path, "exit"), result.output
    for sentence in asked(path, "says"):
        assert sentence in said(result)
    assert "fault of this tool" not in result.output
    assert program.read_bytes() == path.read_bytes()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([path.name, "kept.txt"])


def test_what_is_missing_is_wrong_use(tmp_path: Path) -> None:
    result = checked(tmp_path / "gone.py")
    assert (result.exit_code, "there is no file or folder" in said(result)) == (2, True)


def test_a_folder_without_python_cannot_be_checked(tmp_path: Path) -> None:
    assert checked(tmp_path).exit_code == 3


@pytest.mark.parametrize("name", ["train.csv", "mnist.npz", "weights.PKL", "digits.png", "t10k-images-idx3-ubyte.gz"])
def test_data_is_called_data(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("1,2\n3,4\n", encoding="utf-8")
    result = checked(tmp_path / name)
    assert result.exit_code == 3
    assert f"{name}: this is data, not a program: give the Python file that reads it" in said(result)


def test_data_under_the_name_of_a_program_trains_nothing(tmp_path: Path) -> None:
    (tmp_path / "table.py").write_text("1,2\n3,4\n", encoding="utf-8")
    result = checked(tmp_path / "table.py")
    assert (result.exit_code, "no training was found" in said(result)) == (3, True)


def test_trouble_of_one_file_leaves_the_others_alone(tmp_path: Path) -> None:
    for name in ("segfault", "huge_array", "trains_for_ever"):
        shutil.copy(FOLDER / f"{name}.py", tmp_path)
    result = checked(tmp_path, "--jobs", "3", "--format", "concise")
    assert result.exit_code == 3
    assert "segfault.py" in result.output
    assert "huge_array.py" in result.output
    assert checked(tmp_path, "--format", "json").output.count('"verdict": "healthy"') == 1
