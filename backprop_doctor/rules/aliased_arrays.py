"""BD409 aliased-arrays: two names stand for one array, and changing it under the one changes it under the other.

What it does
------------
Finds an old value that is not old, because it is another name of an array
that was changed in place since; and gradients of several parameters that
share one array.

Why it is wrong
---------------
In numpy, before = W copies nothing: both are names of one array of shape
(D, C). W -= step changes that array, and

    W - before = W - W = 0

at every entry, for ever. W = W - step makes a new array instead, and before
keeps the old one. Likewise [np.zeros(H)] * 2 is a list that holds one array
twice, so that the gradient of one layer overwrites that of another.

Example (samples first)
-----------------------
The change of W is 0 at every step, however far it moves::

    import numpy as np

    rng = np.random.default_rng(4)
    X = rng.normal(size=(80, 6))
    T = np.sin(X @ rng.normal(size=(6, 2)))
    W, b = 0.5 * rng.normal(size=(6, 2)), np.zeros((1, 2))
    for step in range(30):
        out = np.tanh(X @ W + b)
        loss = 0.5 * np.sum((out - T) ** 2) / len(X)
        d = (out - T) * (1 - out**2) / len(X)
        gW = X.T @ d
        gb = d.sum(axis=0, keepdims=True)
        before = W
        W -= 0.05 * gW
        b -= 0.05 * gb
        change = np.abs(W - before).max()
        print(step, loss, change)

Example (features first)
------------------------
The same, with samples in columns::

    import numpy as np

    rng = np.random.default_rng(4)
    X = rng.normal(size=(6, 80))
    T = np.sin(rng.normal(size=(2, 6)) @ X)
    W, b = 0.5 * rng.normal(size=(2, 6)), np.zeros((2, 1))
    for step in range(30):
        out = np.tanh(W @ X + b)
        loss = 0.5 * np.sum((out - T) ** 2) / X.shape[1]
        d = (out - T) * (1 - out**2) / X.shape[1]
        gW = d @ X.T
        gb = d.sum(axis=1, keepdims=True)
        before = W
        W -= 0.05 * gW
        b -= 0.05 * gb
        change = np.abs(W - before).max()
        print(step, loss, change)

Use instead (samples first)
---------------------------
A copy stays as it is::

    import numpy as np

    rng = np.random.default_rng(4)
    X = rng.normal(size=(80, 6))
    T = np.sin(X @ rng.normal(size=(6, 2)))
    W, b = 0.5 * rng.normal(size=(6, 2)), np.zeros((1, 2))
    for step in range(30):
        out = np.tanh(X @ W + b)
        loss = 0.5 * np.sum((out - T) ** 2) / len(X)
        d = (out - T) * (1 - out**2) / len(X)
        gW = X.T @ d
        gb = d.sum(axis=0, keepdims=True)
        before = W.copy()
        W -= 0.05 * gW
        b -= 0.05 * gb
        change = np.abs(W - before).max()
        print(step, loss, change)

Use instead (features first)
----------------------------
A copy stays as it is::

    import numpy as np

    rng = np.random.default_rng(4)
    X = rng.normal(size=(6, 80))
    T = np.sin(rng.normal(size=(2, 6)) @ X)
    W, b = 0.5 * rng.normal(size=(2, 6)), np.zeros((2, 1))
    for step in range(30):
        out = np.tanh(W @ X + b)
        loss = 0.5 * np.sum((out - T) ** 2) / X.shape[1]
        d = (out - T) * (1 - out**2) / X.shape[1]
        gW = d @ X.T
        gb = d.sum(axis=1, keepdims=True)
        before = W.copy()
        W -= 0.05 * gW
        b -= 0.05 * gb
        change = np.abs(W - before).max()
        print(step, loss, change)

How it is detected
------------------
Three signs, each from a run: a difference of two names that are one array,
which has been changed in place, and is 0 at every entry; two parameters
whose gradients lie in one array, at least one of them wrong; and a wrong
line that becomes right (error below 1e-5) with the value that its array had
before it was changed in place.

Fix safety
----------
No edit is proposed: whether a copy is wanted, or a new array in the update,
cannot be seen.

Known limits
------------
- Names for one array on purpose, such as a short name for an attribute, are
  right and not reported.
- Only what the first two steps show is seen.

References
----------
- NumPy user guide, copies and views:
  https://numpy.org/doc/stable/user/basics.copies.html
- Python FAQ, creating a multidimensional list:
  https://docs.python.org/3/faq/programming.html
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.program import Event
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.rules._lines import exchanges, is_overwritten, wrong_lines

SEVERITY = "error"
LAST_RESORT = 1


def examine(case: Case) -> Iterator[Sighting]:
    """Differences of one array with itself, gradients in one array, values that were changed since."""
    yield from _differences(case)
    yield from _shared(case)
    for found in case.once(exchanges):
        if is_overwritten(found):
            yield _changed_since(
                case, found.line.value.name, found.line.value.object, case.text(found.node), found.node
            )


def _differences(case: Case) -> Iterator[Sighting]:
    minus = {s.id for s in case.program.sites if isinstance(s.node, ast.BinOp) and isinstance(s.node.op, ast.Sub)}
    contents: dict[int, set[int]] = {}
    seen: set[int] = set()
    for event in case.trace.events:
        if np.ndim(event.value):
            contents.setdefault(event.storage, set()).add(event.object)
        if event.site not in minus or event.site in seen or not np.ndim(event.value) or np.any(event.value):
            continue
        operands = [e for e in case.children(event) if np.ndim(e.value)]
        texts = [case.text(case.program.sites[e.site].node) for e in operands]
        if len(operands) != 2 or texts[0] == texts[1] or operands[0].object != operands[1].object:
            continue
        if len(contents[operands[0].storage]) < 2:
            continue
        seen.add(event.site)
        node = case.program.sites[event.site].node
        yield Sighting(
            node=node,
            message=f"{texts[0]} and {texts[1]} are two names of one array: their difference is 0 for ever",
            label="an array less itself",
            why=f"{texts[1]} = {texts[0]} copies nothing, and what is changed in place is changed under both names",
            evidence=(
                Evidence(f"entries of {case.text(node)} that are not 0", "none", f"some of {np.size(event.value)}"),
                Evidence("values that the array has had so far", f"{len(contents[operands[0].storage])}", "1"),
            ),
            fix=f"{texts[1]} = {texts[0]}.copy()",
            edits=_copied(case, texts),
            objects=(event.object,),
        )


def _copied(case: Case, names: list[str]) -> tuple[Edit, ...]:
    """A copy where one of two names is given to what the other stands for, if that is at one place."""
    places = [
        site.node
        for site in case.program.sites
        if site.kind == "load" and site.target in names and case.text(site.node) in names
    ]
    return (case.edit(places[0], f"{case.text(places[0])}.copy()"),) if len(places) == 1 else ()


def _shared(case: Case) -> Iterator[Sighting]:
    """Gradients of two parameters that lie in one array."""
    owners: dict[int, list[str]] = {}
    lines = case.once(wrong_lines)
    # Parameters that are added to each other have one gradient, and rightly so.
    for parameter in case.roles.parameters if lines else []:
        for operand in [g.value] if (g := case.gradient(parameter)) else []:
            event = case.trace.by_key[operand.birth]
            owners.setdefault(event.storage, []).append(parameter.name)
            if np.ndim(event.value) == 0 or len(owners[event.storage]) < 2:
                continue
            yield Sighting(
                node=case.program.sites[event.site].statement,
                message=f"the gradients of {' and '.join(owners[event.storage])} lie in one array: what is stored for "
                "the one is what the other gets",
                label="one array for several gradients",
                why="[array] * 2 is a list that holds one array twice; each gradient needs an array of its own",
                evidence=(Evidence("arrays for these gradients", "1", f"{len(owners[event.storage])}"),),
                fix="an array for each",
                edits=_for_each(case, event),
                objects=tuple(line.value.object for line in lines),
            )


def _for_each(case: Case, event: Event) -> tuple[Edit, ...]:
    """A list that holds one new array again and again as a list of as many new arrays."""
    made = {case.program.sites[e.site].node for e in case.trace.events if np.shape(e.value) == np.shape(event.value)}
    found = [
        (node, node.left.elts[0])
        for node in ast.walk(case.source_of(case.program.sites[event.site].node).tree)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult) and isinstance(node.left, ast.List)
        if len(node.left.elts) == 1 and node.left.elts[0] in made
    ]
    if len(found) != 1:
        return ()
    node, one = found[0]
    return (case.edit(node, f"[{case.text(one)} for _ in range({case.text(node.right)})]"),)


def _changed_since(case: Case, name: str, number: int, text: str, node: ast.AST) -> Sighting:
    return Sighting(
        node=node,
        message=f"{text} has been changed in place since, and {name} needs what it was before",
        label="overwritten",
        why="an array that is changed in place is changed for all that read it later",
        evidence=(Evidence(f"{name} with the value that {text} had before", "error below 1e-5", "below 1e-5"),),
        fix="make a new array, or a copy",
        objects=(number,),
    )
