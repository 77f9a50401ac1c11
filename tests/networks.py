"""The fixtures, and what is said of them."""

from __future__ import annotations

from pathlib import Path

from backprop_doctor.rule_tests import diagnosed, expected, seen

__all__ = ["FOLDER", "diagnosed", "expected", "programs", "seen"]

FOLDER = Path(__file__).parent.parent / "fixtures" / "networks"


def programs(*folders: str) -> list[Path]:
    """Python files of some folders of the fixtures."""
    return sorted(path for folder in folders for path in (FOLDER / folder).glob("*.py"))
