"""BD606 batch-slicing: the batches of an epoch overlap or leave gaps.

What it does
------------
Warns of batches that overlap, or that leave gaps between them.

Why it is wrong
---------------
With N samples, batches of width w, and starts s apart, a sample in the middle
is used w / s times an epoch. For s < w an epoch is w / s epochs, and the
samples at both ends count less than the others. For s > w a share of (s - w)
/ s of the samples is never used in this order.

Example (samples first)
-----------------------
The loop moves by 10 and takes 20::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(160, 6))
    Y = np.eye(3)[(X @ rng.normal(size=(6, 3))).argmax(axis=1)]
    W, b = 0.1 * rng.normal(size=(6, 3)), np.zeros((1, 3))
    for epoch in range(12):
        total = 0.0
        for start in range(0, 150, 10):
            x, t = X[start : start + 20], Y[start : start + 20]
            Z = x @ W + b
            E = np.exp(Z - Z.max(axis=1, keepdims=True))
            A = E / E.sum(axis=1, keepdims=True)
            total += -np.mean(np.sum(t * np.log(A + 1e-12), axis=1))
            dZ = (A - t) / len(x)
            W = W - 0.2 * x.T @ dZ
            b = b - 0.2 * dZ.sum(axis=0, keepdims=True)
        print(epoch, "loss", total / 15)

Use instead (samples first)
---------------------------
Steps as wide as the slices::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(160, 6))
    Y = np.eye(3)[(X @ rng.normal(size=(6, 3))).argmax(axis=1)]
    W, b = 0.1 * rng.normal(size=(6, 3)), np.zeros((1, 3))
    for epoch in range(12):
        total = 0.0
        for start in range(0, 160, 20):
            x, t = X[start : start + 20], Y[start : start + 20]
            Z = x @ W + b
            E = np.exp(Z - Z.max(axis=1, keepdims=True))
            A = E / E.sum(axis=1, keepdims=True)
            total += -np.mean(np.sum(t * np.log(A + 1e-12), axis=1))
            dZ = (A - t) / len(x)
            W = W - 0.2 * x.T @ dZ
            b = b - 0.2 * dZ.sum(axis=0, keepdims=True)
        print(epoch, "loss", total / 8)

How it is detected
------------------
The slices that the first epoch of the recorded run takes of one array are
located in it. Equal widths at equal distances that are not the width are
reported.

Fix safety
----------
No edit is made: either the step of the loop or the width of the slice may be
meant.

Known limits
------------
- A last batch that is smaller, or left out because it is not full, is usual,
  and not reported.
- Batches drawn at random are not looked at.

References
----------
- Bottou (2012), Stochastic gradient descent tricks, in Neural Networks:
  Tricks of the Trade, second edition, Springer: shuffle the examples.
- The Python library, range:
  https://docs.python.org/3/library/stdtypes.html#range
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.program import Event
from backprop_doctor.records import Evidence

SEVERITY = "warning"

WINDOWS = 40


def examine(case: Case) -> Iterator[Sighting]:
    """Slices of one array, step after step, that overlap or leave gaps between them."""
    loop = case.roles.training
    sites: dict[int, list[tuple[Event, Event]]] = {}
    latest: dict[int, Event] = {}
    for event in case.trace.events[loop.start : loop.middle]:
        if event.object == -1:
            continue
        latest[event.site] = event
        site = case.program.sites[event.site]
        if _is_slice(site.node) and isinstance(event.value, np.ndarray):
            operand = next((latest[c] for c in site.children if c in latest), None)
            if operand is not None and isinstance(operand.value, np.ndarray):
                sites.setdefault(event.site, []).append((operand, event))
    lines: set[int] = set()
    for number, pairs in sites.items():
        site = case.program.sites[number]
        windows = _windows([p for p in pairs if p[0].object == pairs[0][0].object][:WINDOWS])
        if len(windows) < 2 or not _is_trained_on(case, pairs[0][1], windows[0][1] - windows[0][0]):
            continue
        steps = {b[0] - a[0] for a, b in itertools.pairwise(windows)}
        widths = {b - a for a, b in windows[:-1]}
        if len(steps) != 1 or len(widths) != 1 or id(site.statement) in lines:
            continue
        step, width = steps.pop(), widths.pop()
        if step <= 0 or step == width:
            continue
        lines.add(id(site.statement))
        yield _sighting(case, site.node, windows, step, width)


def _sighting(case: Case, node: ast.AST, windows: list[tuple[int, int]], step: int, width: int) -> Sighting:
    first, second = windows[0], windows[1]
    if step < width:
        what, label = (
            f"overlap: each holds {width} samples and starts {step} after the one before",
            "overlapping batches",
        )
        why = f"a sample in the middle is trained on {width / step:.3g} times an epoch, those at the ends less often"
        seen = f"{width / step:.3g} times"
    else:
        what, label = (
            f"leave gaps: each holds {width} samples and starts {step} after the one before",
            "gaps between batches",
        )
        why = f"{step - width} of every {step} samples are left out of the epoch"
        seen = f"{width} of every {step}"
    return Sighting(
        node=node,
        message=f"the batches {case.text(node)} {what}",
        label=label,
        why=why,
        evidence=(
            Evidence(
                "samples of the first two batches",
                f"{first[0]} to {first[1] - 1}, {second[0]} to {second[1] - 1}",
                f"{first[0]} to {second[0] - 1}, then from {second[0]}",
            ),
            Evidence("how often a sample is used in an epoch", seen, "once"),
        ),
        fix=f"slices as wide as the steps from one to the next, {step}",
    )


def _is_slice(node: ast.AST) -> bool:
    """Whether a subscript cuts a stretch with two bounds out of an array."""
    if not isinstance(node, ast.Subscript):
        return False
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    return any(isinstance(p, ast.Slice) and p.lower is not None and p.upper is not None for p in parts)


def _windows(pairs: list[tuple[Event, Event]]) -> list[tuple[int, int]]:
    """Where along the one axis they shorten slices lie in their array; empty where that is not clear."""
    windows: list[tuple[int, int]] = []
    for operand, piece in pairs:
        whole, part = np.asarray(operand.value), np.asarray(piece.value)
        axes = [a for a in range(whole.ndim) if part.ndim == whole.ndim and part.shape[a] < whole.shape[a]]
        if len(axes) != 1 or not part.shape[axes[0]]:
            return []
        rows, wanted = np.moveaxis(whole, axes[0], 0), np.moveaxis(part, axes[0], 0)
        where = [i for i in range(len(rows) - len(wanted) + 1) if np.array_equal(rows[i : i + len(wanted)], wanted)]
        if len(where) != 1:
            return []
        windows.append((where[0], where[0] + len(wanted)))
    return windows


def _is_trained_on(case: Case, piece: Event, width: int) -> bool:
    """Whether a slice is taken in the first step and as wide as its samples are many."""
    step = case.roles.step
    return step.start <= piece.index < step.middle and width == case.samples
