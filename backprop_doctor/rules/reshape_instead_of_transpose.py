"""BD604 reshape-instead-of-transpose: reshape puts the numbers of several samples into one.

Stub
----
x
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.order import scrambled
from backprop_doctor.program import Event
from backprop_doctor.records import Edit, Evidence

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """A call that gives the samples' axis the last place and leaves the numbers in their old order."""
    for found in scrambled(case):
        yield _sighting(case, case.program.sites[found.result.site].node, found.operand, found.result)


def _sighting(case: Case, node: ast.AST, operand: Event, event: Event) -> Sighting:
    old, new = np.asarray(operand.value), np.asarray(event.value)
    samples = old.shape[0]
    column = np.arange(old.size).reshape(new.shape).reshape(-1, samples)[:, 0]
    mixed = np.unique(column // (old.size // samples)).size
    name = case.text(case.program.sites[operand.site].node)
    edits = _edits(case, node)
    return Sighting(
        node=node,
        message=f"{case.text(node)} makes {new.shape} of {old.shape} and mixes the samples: its first column holds "
        f"numbers of {mixed} samples",
        label="mixes the samples",
        why="reshape keeps the numbers in the order they lie in memory, sample after sample; only .T exchanges axes",
        evidence=(
            Evidence("samples whose numbers are in column 0", str(mixed), "1"),
            Evidence(
                "entries of column 0 that belong to sample 0",
                f"{int(np.sum(column < old.size // samples))} of {column.size}",
                f"{column.size} of {column.size}",
            ),
        ),
        fix=edits[0].replacement if edits else f"{name}.reshape({samples}, -1).T",
        edits=edits,
    )


def _edits(case: Case, node: ast.AST) -> tuple[Edit, ...]:
    """``x.reshape(d, n)`` becomes ``x.reshape(n, d).T``."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.keywords:
        return ()
    of_numpy = isinstance(node.func.value, ast.Name) and node.func.value.id in ("np", "numpy")
    base, rest = (node.args[0], node.args[1:]) if of_numpy and node.args else (node.func.value, node.args)
    sides = rest[0].elts if len(rest) == 1 and isinstance(rest[0], ast.Tuple) else rest
    if len(sides) != 2 or node.func.attr != "reshape":
        return ()
    first, last = (case.text(side) for side in sides)
    return (case.edit(node, f"{case.text(base)}.reshape({last}, {first}).T"),)
