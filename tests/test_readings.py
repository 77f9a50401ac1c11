"""Tables of numbers are parsed once, and what is handed out is what parsing would have given."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backprop_doctor import readings
from backprop_doctor.readings import Readings, text_of

TABLE = np.array([[5, 0, 9, 10], [7, 99, 100, 255]], np.uint8)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(text_of(TABLE))
    return path


@pytest.fixture(autouse=True)
def _every_reading_counts_as_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "SECONDS", 0.0)


def _counted(calls: list[Any]) -> Any:
    def read(path: Any, *of: Any, **how: Any) -> Any:
        calls.append(path)
        return np.loadtxt(path, *of, **how)

    return read


def test_a_table_is_written_as_python_would_write_it() -> None:
    assert text_of(TABLE).decode() == "5,0,9,10\n7,99,100,255\n"


def test_a_file_is_read_once_and_changing_what_was_read_changes_no_later_reading(table: Path) -> None:
    calls: list[Any] = []
    read = Readings().once(_counted(calls))
    first = read(str(table), delimiter=",")
    first += 1
    assert np.array_equal(read(str(table), delimiter=","), TABLE)
    assert len(calls) == 1


def test_a_file_read_in_another_way_is_read_again(table: Path) -> None:
    read = Readings().once(np.loadtxt)
    assert read(table, delimiter=",").shape == (2, 4)
    assert read(table, delimiter=",", skiprows=1).shape == (4,)
    assert read(table, delimiter=",", converters={0: lambda _: 1.0})[0, 0] == 1.0


def test_a_file_that_was_written_again_is_read_again(table: Path) -> None:
    read = Readings().once(np.loadtxt)
    assert read(table, delimiter=",")[0, 0] == 5
    table.write_bytes(text_of(TABLE).replace(b"5,0", b"6,0"))
    os.utime(table, ns=(1, 1))
    assert read(table, delimiter=",")[0, 0] == 6


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("skipped", [0, 1, 2])
def test_a_table_written_here_need_not_be_parsed(tmp_path: Path, header: bool, skipped: int) -> None:
    path = tmp_path / "known.csv"
    path.write_bytes(b"a,b,c,d\n" * header + text_of(np.r_[TABLE, TABLE]))
    known = Readings()
    known.know(str(path), np.r_[TABLE, TABLE], header=header)
    calls: list[Any] = []
    read = known.once(_counted(calls))
    if header and not skipped:
        with pytest.raises(ValueError, match="could not convert"):
            read(str(path), delimiter=",", skiprows=skipped)
        return
    expected = np.loadtxt(path, delimiter=",", skiprows=skipped)
    assert np.array_equal(read(str(path), delimiter=",", skiprows=skipped), expected)
    assert read(str(path), delimiter=",", skiprows=skipped).dtype == expected.dtype
    assert not calls
