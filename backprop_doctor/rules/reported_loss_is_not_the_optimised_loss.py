"""BD507 reported-loss-is-not-the-optimised-loss: only the last batch is in the loss shown.

What it does
------------
Finds a sum of losses that is set to zero inside the loop over the batches,
and shown after it.

Why it is wrong
---------------
With K batches and losses L[1] ... L[K] the mean loss of the epoch is

    (L[1] + L[2] + ... + L[K]) / K

A sum that starts again in each turn holds L[K] alone, and the program shows
L[K] / K: the loss of the last batch, K times too small. What is descended is
not touched by it.

Example (samples first)
-----------------------
total starts again in each of the 8 turns::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(160, 6))
    Y = np.eye(3)[(X @ rng.normal(size=(6, 3))).argmax(axis=1)]
    W, b = 0.1 * rng.normal(size=(6, 3)), np.zeros((1, 3))
    for epoch in range(12):
        for start in range(0, 160, 20):
            total = 0.0
            x, t = X[start : start + 20], Y[start : start + 20]
            Z = x @ W + b
            E = np.exp(Z - Z.max(axis=1, keepdims=True))
            A = E / E.sum(axis=1, keepdims=True)
            total += -np.mean(np.sum(t * np.log(A + 1e-12), axis=1))
            dZ = (A - t) / len(x)
            W = W - 0.2 * x.T @ dZ
            b = b - 0.2 * dZ.sum(axis=0, keepdims=True)
        print(epoch, "loss", total / 8)

Use instead (samples first)
---------------------------
The sum starts before the loop::

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
The program is run for two epochs. If a name is set to 0 and added to in the
body of one loop, is read below it, and holds there the last of several terms,
the line that sets it is blamed. The sum of all terms is shown beside it. What
is read must be divided by the number of turns or of samples: the loss of the
last batch may be shown on purpose, and is then not divided so.

Fix safety
----------
The line is moved above the loop, in its indentation. The changed program is
examined again from another seed, and the fix is called verified only if the
finding is gone and no error is new.

Known limits
------------
- Sums have plain names; lists of losses are not followed.
- A program that shows the loss of the last batch without summing does what it
  says, and is not reported.

References
----------
- Bottou (2012), Stochastic gradient descent tricks, in Neural Networks:
  Tricks of the Trade, second edition, Springer: monitor the cost over many
  samples.
- The Python tutorial, section 4.2, for statements:
  https://docs.python.org/3/tutorial/controlflow.html#for-statements
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.program import Event
from backprop_doctor.records import Edit, Evidence

SEVERITY = "error"

Loop = ast.For | ast.While


def examine(case: Case) -> Iterator[Sighting]:
    """A sum of losses, set to zero inside the loop that adds to it, and divided after it as if it were whole."""
    for loop, reset, added in _resets(case.source.tree):
        name = case.text(reset.targets[0])
        sums = [e for e in case.short.events if _stores(case, e.site, added)]
        reads = [e for e in case.short.events if _reads_after(case, e.site, name, loop)]
        if not sums or not reads or not isinstance(reads[0].value, (int, float)):
            continue
        terms = [float(np.squeeze(e.value)) for e in sums if e.index < reads[0].index and np.size(e.value) == 1]
        total, shown = float(np.sum(terms)), float(reads[0].value)
        if len(terms) < 2 or not np.isfinite(total) or shown != terms[-1]:
            continue
        divisor = _divisor(case, reads[0])
        if divisor is None or divisor not in (len(terms), len(terms) * case.samples):
            continue
        yield Sighting(
            node=reset,
            message=f"{name} is set to zero in every turn of the loop that adds to it: only the last of "
            f"{len(terms)} terms is left, and divided by {divisor:g}",
            label="reset in every turn",
            why=f"{name} is read when the loop is over; the terms of all earlier turns are gone by then",
            evidence=(
                Evidence(f"{name} after {len(terms)} turns", f"{shown:.4g}", f"{total:.4g}, the sum of all"),
                Evidence("what is shown", f"{shown / divisor:.4g}", f"{total / divisor:.4g}"),
            ),
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
            name = reset.targets[0].id
            added = [n for n in loop.body[i + 1 :] if isinstance(n, ast.AugAssign) and ast.unparse(n.target) == name]
            # Several terms in one turn make up one loss.
            if len(added) == 1 and isinstance(added[0].op, ast.Add):
                yield loop, reset, added[0]


def _stores(case: Case, site: int, added: ast.AugAssign) -> bool:
    place = case.program.sites[site]
    return place.statement is added and place.kind == "store"


def _reads_after(case: Case, site: int, name: str, loop: Loop) -> bool:
    """Whether a site reads the name below the loop, or in another place outside of it."""
    place = case.program.sites[site]
    outside = place.line > (loop.end_lineno or 0)
    return outside and place.kind == "load" and isinstance(place.node, ast.Name) and place.node.id == name


def _divisor(case: Case, event: Event) -> float | None:
    """What a value is divided by where it is read, if that is a number."""
    parent = case.program.sites[event.site].parent
    node = case.program.sites[parent].node if parent is not None else None
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Div):
        return None
    if node.left is not case.program.sites[event.site].node:
        return None
    if isinstance(node.right, ast.Constant):
        return float(node.right.value) if isinstance(node.right.value, (int, float)) else None
    for other in case.short.events[event.index : event.index + 20]:
        if other.object != -1 and case.program.sites[other.site].node is node.right and np.size(other.value) == 1:
            return float(np.squeeze(other.value))
    return None


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
