"""BD503 accuracy-counter-not-reset: hits of earlier epochs are counted again in later ones."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.accuracy import counter_names
from backprop_doctor.records import Edit, Evidence

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """A perfect predictor scores more in the second turn than in the first."""
    accuracy = case.accuracy
    if accuracy is None or len(accuracy.perfect) < 2 or accuracy.perfect[0] <= 0:
        return
    first, second = accuracy.perfect[:2]
    if second <= first * (1 + 1e-9):
        return
    found = _initialisation(case, counter_names(case, accuracy))
    if found is None:
        return
    statement, loop = found
    name = case.text(statement.targets[0])
    line = case.source.line(statement.lineno)
    yield Sighting(
        node=statement,
        message=f"{name} is set before the epoch loop and never reset: hits carry over from epoch to epoch",
        label="set once, outside the epoch loop",
        why=f"after k epochs {name} holds the hits of all k of them",
        evidence=(
            Evidence(
                f"{accuracy.quantity.name} of a perfect predictor, epochs 1 and 2",
                f"{first:.3g}, {second:.3g}",
                "the same twice",
            ),
        ),
        fix=f"{line.strip()} inside the epoch loop",
        edits=_move(case, statement, loop),
        objects=(accuracy.quantity.object,),
    )


def _initialisation(case: Case, names: list[str]) -> tuple[ast.Assign, ast.For | ast.While] | None:
    """The assignment of a number to one of the names, outside the training loop and in its block."""
    loop = case.program.sites[case.roles.training.loop].node
    assert isinstance(loop, (ast.For, ast.While))
    changed = {
        ast.unparse(t)
        for n in ast.walk(loop)
        if isinstance(n, (ast.Assign, ast.AugAssign))
        for t in (n.targets if isinstance(n, ast.Assign) else [n.target])
    }
    for node in ast.walk(case.source.tree):
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Constant)
            and node.end_lineno is not None
            and not (loop.lineno <= node.lineno <= (loop.end_lineno or 0))
            and ast.unparse(node.targets[0]) in changed & set(names)
        ):
            return node, loop
    return None


def _move(case: Case, statement: ast.Assign, loop: ast.For | ast.While) -> tuple[Edit, ...]:
    """Take the line out and put it first into the loop body, in the body's indentation."""
    text = case.source.line(statement.lineno)
    if text.strip() != case.text(statement) or statement.lineno != statement.end_lineno:
        return ()
    body = loop.body[0]
    indent = case.source.line(body.lineno)[: body.col_offset]
    if indent.strip() or body.lineno == loop.lineno:
        return ()
    whole = case.insertion(statement.lineno, 1, "").position
    from dataclasses import replace

    newline = "\r\n" if "\r\n" in case.source.text else "\n"
    return (
        Edit(replace(whole, end_line=statement.lineno + 1), ""),
        case.insertion(body.lineno, 1, f"{indent}{case.text(statement)}{newline}"),
    )
