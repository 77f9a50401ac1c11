"""The fixtures and what their comments expect.

``# expect: BD301`` is an error at that line, ``# warn:`` and ``# note:`` say what they say, and a line without
a comment asserts silence.
"""

from __future__ import annotations

import re
from pathlib import Path

from backprop_doctor import confinement, diagnosis
from backprop_doctor.records import FileReport

FOLDER = Path(__file__).parent.parent / "fixtures" / "networks"
SEVERITIES = {"expect": "error", "warn": "warning", "note": "note"}
COMMENT = re.compile(r"# (expect|warn|note): ([A-Z0-9, ]+)")


def programs(*folders: str) -> list[Path]:
    """Python files of some folders of the fixtures."""
    return sorted(path for folder in folders for path in (FOLDER / folder).glob("*.py"))


def expected(path: Path) -> dict[tuple[int, str], str]:
    """Severity of what is expected, by line and code."""
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        for kind, codes in COMMENT.findall(line):
            found |= {(number, code.strip()): SEVERITIES[kind] for code in codes.split(",")}
    return found


def diagnosed(path: Path, *, fix: bool = False, search_seconds: float = 0.0) -> FileReport:
    """The report on a program, in this process."""
    with confinement.for_path(str(path)) as surroundings:
        return diagnosis.diagnose(str(path), surroundings, fix=fix, search_seconds=search_seconds)


def seen(report: FileReport) -> dict[tuple[int, str], str]:
    """Severity of what was found, by line and code."""
    return {(f.position.line, f.code): f.severity for f in report.findings}
