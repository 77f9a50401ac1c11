"""The catalogue of faults: one rule a file, and no list to edit.

A rule module opens with a docstring ``BD102 softmax-over-samples: one sentence.``, which goes on as its
page in ``explain``, and has ``SEVERITY`` and ``examine(case)``, which yields sightings.  What is known of
the rules is read with `ast`, so that explaining one imports nothing heavy.

Rules look at a program in the order of their codes.  One with ``LAST_RESORT = 1`` comes after all others, one
with 2 after those; of what they see, only what no rule before them has explained is reported.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import cast

from backprop_doctor.errors import UsageError
from backprop_doctor.records import Severity

__all__ = ["FAMILIES", "RuleInfo", "catalogue", "find", "info", "load", "resolve"]

FOLDER = Path(__file__).parent

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

TITLE = re.compile(r"(?P<code>BD[1-8]\d\d) (?P<name>[a-z0-9-]+): (?P<summary>.+)")


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


@cache
def catalogue(folder: Path = FOLDER) -> tuple[RuleInfo, ...]:
    """All rules of a folder, by code; modules that start with an underscore are helpers.

    Raises
    ------
    ValueError
        If a rule's first line has another form, or it has no severity.
    """
    return tuple(sorted((_read(path) for path in folder.glob("[!_]*.py")), key=lambda rule: rule.code))


def find(code_or_name: str, folder: Path = FOLDER) -> RuleInfo:
    """The rule of that code or name.

    Raises
    ------
    UsageError
        If there is none, with the nearest match.
    """
    wanted = re.sub(r"[\s_]+", "-", code_or_name.strip().lower())
    for rule in catalogue(folder):
        if wanted in (rule.code.lower(), rule.name):
            return rule
    raise UsageError(f"there is no rule {code_or_name}{_nearest(wanted, folder)} (backprop-doctor rules lists them)")


def resolve(selectors: Iterable[str], folder: Path = FOLDER) -> tuple[str, ...]:
    """Codes, beginnings of codes (``BD3``) and names, given one by one or with commas, as codes.

    Raises
    ------
    UsageError
        If one of them selects no rule.
    """
    resolved: list[str] = []
    for selector in (part.strip() for text in selectors for part in text.split(",")):
        beginning = selector.upper()
        if beginning in FAMILIES or any(rule.code.startswith(beginning) for rule in catalogue(folder)):
            resolved += [beginning] * bool(beginning)
        else:
            resolved.append(find(selector, folder).code)
    return tuple(dict.fromkeys(resolved))


@cache
def load() -> tuple[ModuleType, ...]:
    """The rule modules, imported, by code."""
    modules = [importlib.import_module(f"{__name__}.{path.stem}") for path in FOLDER.glob("[!_]*.py")]
    return tuple(sorted(modules, key=lambda module: info(module).code))


@cache
def info(module: ModuleType) -> RuleInfo:
    """What is known of an imported rule."""
    path = FOLDER / f"{module.__name__.rpartition('.')[2]}.py"
    if module.__doc__ is None:  # an interpreter that was told to leave docstrings out
        return _read(path)
    return _of(path, inspect.cleandoc(module.__doc__), module.SEVERITY)


def _read(path: Path) -> RuleInfo:
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SEVERITY":
            return _of(path, ast.get_docstring(tree) or "", cast(Severity, ast.literal_eval(node.value)))
    raise ValueError(f"{path}: a rule needs a constant SEVERITY")


def _of(path: Path, docstring: str, severity: Severity) -> RuleInfo:
    head, _, explanation = docstring.partition("\n\n")
    title = TITLE.fullmatch(" ".join(head.split()))
    if title is None:
        raise ValueError(f"{path}: the docstring has to start with 'BD123 name-of-the-fault: one sentence'")
    return RuleInfo(**title.groupdict(), severity=severity, explanation=explanation, module=path.stem)


def _nearest(wanted: str, folder: Path) -> str:
    known = {word: rule for rule in catalogue(folder) for word in (rule.code.lower(), rule.name)}
    near = difflib.get_close_matches(wanted, known, n=2) or [n for n in known if wanted and wanted in n][:2]
    return "; did you mean " + " or ".join(f"{known[n].code} {known[n].name}" for n in near) + "?" if near else ""
