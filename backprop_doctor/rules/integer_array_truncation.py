"""BD704 integer-array-truncation: fractions are stored in an array of whole numbers, or small integers wrap around.

What it does
------------
Warns of fractions that are stored in an array of whole numbers, and of small
whole numbers that wrap around.

Why it is wrong
---------------
An array keeps its type when entries of it are assigned. np.zeros_like of an
array of whole numbers is one as well, and what is stored in it loses the part
behind the point: 0.73 becomes 0.

Bytes, as pixels come from a file, hold 0 to 255. Arithmetic among bytes stays
among bytes, so that 100 - 128 is 228.

Example (samples first)
-----------------------
X holds whole numbers, and so does its standardised form::

    import numpy as np

    rng = np.random.default_rng(0)
    area = rng.uniform(500, 2500, size=(80, 1))
    price = 0.002 * area + 0.1 * rng.normal(size=(80, 1))
    X = area.astype(int)
    X[:, 0] = (X[:, 0] - X[:, 0].mean()) / X[:, 0].std()
    w, b = np.ones((1, 1)), np.zeros((1, 1))
    for step in range(20):
        error = X @ w + b - price
        w = w - 0.1 * X.T @ error / len(X)
        b = b - 0.1 * error.mean(axis=0, keepdims=True)
        print(step, "mean squared error", np.mean(error**2))

Use instead (samples first)
---------------------------
An array of floats keeps what is stored::

    import numpy as np

    rng = np.random.default_rng(0)
    area = rng.uniform(500, 2500, size=(80, 1))
    price = 0.002 * area + 0.1 * rng.normal(size=(80, 1))
    X = area.astype(float)
    X[:, 0] = (X[:, 0] - X[:, 0].mean()) / X[:, 0].std()
    w, b = np.ones((1, 1)), np.zeros((1, 1))
    for step in range(20):
        error = X @ w + b - price
        w = w - 0.1 * X.T @ error / len(X)
        b = b - 0.1 * error.mean(axis=0, keepdims=True)
        print(step, "mean squared error", np.mean(error**2))

How it is detected
------------------
Values with a fraction that are assigned to entries of an array are compared
with the type the array has when it is read next. Sums, differences and
products of unsigned whole numbers are computed again in wide integers and
compared.

Fix safety
----------
No edit is made: where the array is made is known to the author.

Known limits
------------
- It is a warning: cutting off may be meant.
- Arrays that are changed by += raise an error in numpy, and need no rule.

References
----------
- NumPy user guide, data types, overflow errors:
  https://numpy.org/doc/stable/user/basics.types.html
- NumPy reference, numpy.zeros_like:
  https://numpy.org/doc/stable/reference/generated/numpy.zeros_like.html
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.program import Event
from backprop_doctor.records import Evidence

SEVERITY = "warning"

OPERATIONS = {ast.Sub: np.subtract, ast.Add: np.add, ast.Mult: np.multiply}


def examine(case: Case) -> Iterator[Sighting]:
    """Fractions assigned to entries of arrays of whole numbers, and small whole numbers that wrap around."""
    latest: dict[int, Event] = {}
    pending: dict[str, tuple[ast.Assign, Event]] = {}
    seen: set[int] = set()
    for event in case.trace.events[: case.roles.step.end]:
        if event.object == -1:
            continue
        site = case.program.sites[event.site]
        sighting = None
        if id(site.statement) not in seen and isinstance(site.node, ast.BinOp):
            sighting = _wrapped(case, event, [latest[c] for c in site.children if c in latest])
        name = case.text(site.node)
        if sighting is None and name in pending and site.kind in ("load", "store"):
            # The array as it is read next tells what it could keep.
            statement, given = pending.pop(name)
            if id(statement) not in seen:
                sighting = _truncated(case, statement, name, event, given)
                seen |= {id(statement)} if sighting else set()
        elif sighting is not None:
            seen.add(id(site.statement))
        if sighting is not None:
            yield sighting
        latest[event.site] = event
        whole = site.statement
        if isinstance(whole, ast.Assign) and whole.value is site.node:
            pending |= {case.text(t.value): (whole, event) for t in whole.targets if isinstance(t, ast.Subscript)}


def _truncated(case: Case, statement: ast.Assign, name: str, event: Event, given: Event) -> Sighting | None:
    if np.asarray(event.value).dtype.kind not in "iu" or np.ndim(event.value) == 0:
        return None
    value = np.asarray(given.value)
    if value.dtype.kind != "f" or not value.size or not np.all(np.isfinite(value)):
        return None
    lost = np.abs(value - np.trunc(value))
    if lost.max() == 0:
        return None
    example = float(value.ravel()[int(np.argmax(lost))])
    dtype = np.asarray(event.value).dtype.name
    share = float(np.mean(lost > 0))
    return Sighting(
        node=statement,
        message=f"{name} is an array of {dtype}: {example:.3g} is stored as {int(example)}",
        label=f"{name} holds whole numbers only",
        why="an array keeps its type when entries are assigned: the part behind the point is cut off in silence",
        evidence=(
            Evidence(f"entry stored in {name}", f"{int(example)}", f"{example:.3g}"),
            Evidence("share of the values stored that lose something", f"{share:.0%}", "0%"),
        ),
        fix=f"make {name} an array of floats: dtype=float, or np.zeros(shape)",
    )


def _wrapped(case: Case, event: Event, operands: list[Event]) -> Sighting | None:
    value = np.asarray(event.value)
    site = case.program.sites[event.site]
    assert isinstance(site.node, ast.BinOp)
    function = OPERATIONS.get(type(site.node.op))
    if value.dtype.kind != "u" or value.ndim == 0 or function is None:
        return None
    sides = []
    for node in (site.node.left, site.node.right):
        known = next((o.value for o in operands if case.program.sites[o.site].node is node), None)
        known = node.value if known is None and isinstance(node, ast.Constant) else known
        if known is None or np.asarray(known).dtype.kind not in "iub":
            return None
        sides.append(np.asarray(known).astype(np.int64))
    wide = function(*sides)
    wrong = wide != value
    if wide.shape != value.shape or not wrong.any():
        return None
    where = tuple(np.argwhere(wrong)[0])
    return Sighting(
        node=site.node,
        message=f"{case.text(site.node)} is taken in {value.dtype.name} and wraps around: {int(wide[where])} becomes "
        f"{int(value[where])}",
        label=f"wraps around in {value.dtype.name}",
        why=f"{value.dtype.name} holds 0 to {np.iinfo(value.dtype).max} only, and what is beyond begins again at the "
        "other end",
        evidence=(
            Evidence("entries that differ from the same in wide integers", f"{wrong.mean():.0%}", "0%"),
            Evidence("one of them", f"{int(value[where])}", f"{int(wide[where])}"),
        ),
        fix="make floats of the data first: .astype(float)",
    )
