"""The chart of a program in Python."""

from __future__ import annotations

from pathlib import Path

import handmade
import pytest

from backprop_doctor import CannotCheckError, UsageError, trace, tracing
from backprop_doctor.records import FileReport, Unchecked


def test_a_trace_is_the_lines_of_the_program_and_prints_as_their_chart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.py"
    path.write_text(handmade.PROGRAM, encoding="utf-8")
    monkeypatch.setattr(tracing, "check_file", lambda path, options: handmade.FAULTY)
    chart = trace(path)
    assert chart.lines == handmade.FAULTY.lines
    assert chart.network == handmade.FAULTY.network
    assert all(line.target in str(chart) for line in chart.lines)


def test_what_cannot_be_traced_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="is a folder"):
        trace(tmp_path)
    with pytest.raises(UsageError, match="there is no file"):
        trace(tmp_path / "net.py")
    broken = FileReport("net.py", "unknown", False, 0.1, unchecked=(Unchecked("the program", "it hangs"),))
    monkeypatch.setattr(tracing, "check_file", lambda path, options: broken)
    (tmp_path / "net.py").write_text("", encoding="utf-8")
    with pytest.raises(CannotCheckError, match="it hangs"):
        trace(tmp_path / "net.py")
