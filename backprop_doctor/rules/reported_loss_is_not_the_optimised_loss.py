"""BD507 reported-loss-is-not-the-optimised-loss: the loss shown is that of the last batch, its sum being reset inside the loop.

Stub
----
x
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.records import Edit, Evidence

SEVERITY = "warning"

Loop = ast.For | ast.While


def examine(case: Case) -> Iterator[Sighting]:
    """A sum of losses that is set to zero inside the loop that adds to it, and read after that loop."""
    for loop, reset, added in _resets(case.source.tree):
        name = case.text(reset.targets[0])
        sums = [e for e in case.short.events if _stores(case, e.site, added)]
        reads = [e for e in case.short.events if _reads_after(case, e.site, name, loop)]
        if not sums or not reads or not isinstance(reads[0].value, (int, float)):
            continue
        terms = [e.value for e in sums if e.index < reads[0].index and np.size(e.value) == 1]
        shown = float(reads[0].value)
        total = float(np.sum(terms))
        if len(terms) < 2 or not np.isfinite(total) or shown != float(np.squeeze(terms[-1])):
            continue
        yield Sighting(
            node=reset,
            message=f"{name} is set to zero in every turn of the loop that adds to it: only the last of "
            f"{len(terms)} terms is left",
            label="reset in every turn",
            why=f"{name} is read when the loop is over; the terms of all earlier turns are gone by then",
            evidence=(Evidence(f"{name} after {len(terms)} turns", f"{shown:.4g}", f"{total:.4g}, the sum of all"),),
            fix=f"{case.text(reset)} before the loop",
            edits=_move(case, reset, loop),
        )
        return


def _resets(tree: ast.AST) -> Iterator[tuple[Loop, ast.Assign, ast.AugAssign]]:
    """Loops whose own body both sets a name to a number and, later, adds to it."""
    for loop in ast.walk(tree):
        if not isinstance(loop, (ast.For, ast.While)):
            continue
        for i, reset in enumerate(loop.body):
            if (
                not isinstance(reset, ast.Assign)
                or len(reset.targets) != 1
                or not isinstance(reset.targets[0], ast.Name)
            ):
                continue
            if not isinstance(reset.value, ast.Constant) or reset.value.value != 0:
                continue
            for added in loop.body[i + 1 :]:
                if not isinstance(added, ast.AugAssign) or not isinstance(added.op, ast.Add):
                    continue
                if isinstance(added.target, ast.Name) and added.target.id == reset.targets[0].id:
                    yield loop, reset, added


def _stores(case: Case, site: int, added: ast.AugAssign) -> bool:
    place = case.program.sites[site]
    return place.statement is added and place.kind == "store"


def _reads_after(case: Case, site: int, name: str, loop: Loop) -> bool:
    """Whether a site reads the name below the loop, or in another place outside of it."""
    place = case.program.sites[site]
    outside = place.line > (loop.end_lineno or 0)
    return outside and place.kind == "load" and isinstance(place.node, ast.Name) and place.node.id == name


def _move(case: Case, reset: ast.Assign, loop: Loop) -> tuple[Edit, ...]:
    """Take the line out of the loop and put it above, in the loop's own indentation."""
    text, own = case.source.line(reset.lineno).strip(), case.text(reset)
    alone = text.startswith(own) and text[len(own) :].strip()[:1] in ("", "#")
    indent = case.source.line(loop.lineno)[: loop.col_offset]
    if not alone or reset.lineno != reset.end_lineno or indent.strip() or len(loop.body) < 2:
        return ()
    whole = case.insertion(reset.lineno, 1, "").position
    newline = "\r\n" if "\r\n" in case.source.text else "\n"
    return (
        Edit(replace(whole, end_line=reset.lineno + 1), ""),
        case.insertion(loop.lineno, 1, f"{indent}{text}{newline}"),
    )
