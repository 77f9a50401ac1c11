"""What can be suspected from the text alone: nothing is run, nothing heavy is imported, nothing is proved.

One pattern a file, named after the rule whose fault it suspects, and no list to edit.  A pattern has
``suspect(sketch)``, which yields suspicions; it is there only where the text alone says nearly all.
"""

from __future__ import annotations

import ast
import importlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from backprop_doctor import rules
from backprop_doctor.errors import SourceError
from backprop_doctor.records import FileReport, Finding, Fix, Unchecked
from backprop_doctor.selection import Selection, sift
from backprop_doctor.source import Project
from backprop_doctor.static._sketch import Sketch

__all__ = ["Suspicion", "examine", "patterns"]


@dataclass(frozen=True)
class Suspicion:
    """A place in the text, what is written there, why that is wrong, and what to write."""

    node: ast.AST
    message: str
    why: str
    fix: str = ""


@cache
def patterns() -> dict[str, ModuleType]:
    """The patterns, by the module names of their rules."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}


def examine(project: Project, selection: Selection | None = None) -> FileReport:
    """Suspicions about a program that is only read.

    Parameters
    ----------
    project : Project
        The program.
    selection : Selection, optional
        The rules to apply or to leave out.

    Returns
    -------
    FileReport
        Its verdict is ``"unknown"``, since nothing was run; where the text does not parse, ``unchecked`` says so.
    """
    started = time.perf_counter()
    path = project.main[0].path
    try:
        sketch = Sketch(project)
    except SourceError as error:
        why = (Unchecked("the program", str(error)),)
        return FileReport(path, "unknown", ran=False, seconds=time.perf_counter() - started, unchecked=why)
    unchecked: list[Unchecked] = []
    found = list(_findings(sketch, unchecked))
    kept, remarks = sift(found, project, selection or Selection())
    kept.sort(key=lambda finding: (finding.position.cell or 0, finding.position.line, finding.position.column))
    return FileReport(
        path,
        "unknown",
        ran=False,
        seconds=time.perf_counter() - started,
        findings=tuple(kept),
        unchecked=tuple(unchecked),
        remarks=tuple(remark for remark in remarks if "silences nothing" not in remark),
    )


def _findings(sketch: Sketch, unchecked: list[Unchecked]) -> Iterator[Finding]:
    for name, pattern in patterns().items():
        rule = rules.find(name)
        try:
            suspicions = list(pattern.suspect(sketch))
        except Exception as error:  # a pattern that fails must not hide the others
            told = f"a fault of this tool: {type(error).__name__}: {error}"
            unchecked.append(Unchecked(f"{rule.code} {rule.name}", told))
            continue
        for suspicion in suspicions:
            yield Finding(
                code=rule.code,
                name=rule.name,
                severity=rule.severity,
                status="suspected",
                position=sketch.project.position(suspicion.node),
                message=suspicion.message,
                why=suspicion.why,
                fix=Fix("none", suspicion.fix),
            )
