"""The catalogue of faults: one rule per file, found by looking into this folder.

A rule module opens with a docstring ``BD102 softmax-over-samples: one sentence.``, which goes on as its
explanation page, and has ``SEVERITY`` and ``examine(case)``, which yields sightings.  The catalogue is
read with `ast`, so that explaining a rule imports nothing heavy.
"""

from __future__ import annotations

import ast
import difflib
import importlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import cast

from backprop_doctor.errors import UsageError
from backprop_doctor.records import Severity

__all__ = ["FAMILIES", "RuleInfo", "catalogue", "find", "info", "load"]

FAMILIES = {
    "BD1": "forward and orientation",
    "BD2": "loss",
    "BD3": "backward",
    "BD4": "update",
    "BD5": "metric",
    "BD6": "data",
    "BD7": "numerics",
    "BD8": "training dynamics",
}


@dataclass(frozen=True)
class RuleInfo:
    """What is known of a rule without importing it."""

    code: str
    name: str
    severity: Severity
    summary: str
    explanation: str
    module: str

    @property
    def family(self) -> str:
        """The family the code belongs to."""
        return FAMILIES[self.code[:3]]


@lru_cache
def catalogue() -> tuple[RuleInfo, ...]:
    """All rules, by code."""
    files = sorted(Path(__file__).parent.glob("[!_]*.py"))
    return tuple(sorted((_read(file) for file in files), key=lambda rule: rule.code))


def find(code_or_name: str) -> RuleInfo:
    """The rule of that code or name.

    Raises
    ------
    UsageError
        If there is none, with the nearest match.
    """
    wanted = code_or_name.strip().lower()
    for rule in catalogue():
        if wanted in (rule.code.lower(), rule.name):
            return rule
    known = [word for rule in catalogue() for word in (rule.code.lower(), rule.name)]
    near = difflib.get_close_matches(wanted, known, 1, 0.5)
    hint = f"; did you mean {near[0].upper() if near[0].startswith('bd') else near[0]}?" if near else ""
    raise UsageError(f"there is no rule {code_or_name}{hint} (backprop-doctor rules lists them)")


@lru_cache
def load() -> tuple[ModuleType, ...]:
    """The rule modules, imported."""
    return tuple(importlib.import_module(rule.module) for rule in catalogue())


def info(module: ModuleType) -> RuleInfo:
    """What is known of an imported rule."""
    return next(rule for rule in catalogue() if rule.module == module.__name__)


def _read(file: Path) -> RuleInfo:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    text = ast.get_docstring(tree) or ""
    head, _, rest = text.partition("\n")
    title, _, summary = head.partition(": ")
    code, _, name = title.partition(" ")
    severity = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SEVERITY"
    )
    return RuleInfo(code, name, cast(Severity, severity), summary, rest.strip(), f"{__name__}.{file.stem}")
