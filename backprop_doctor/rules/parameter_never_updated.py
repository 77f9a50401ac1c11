"""BD403 parameter-never-updated: a parameter takes part in the forward pass and is never changed.

What it does
------------
Finds a weight or bias that takes part in the forward pass and stays as it is
while others are trained.

Why it is wrong
---------------
N samples, D features, C classes. In Z = X @ W + b, shape (N, C), the output
depends on W of shape (D, C) and on b of shape (1, C), so the loss has a
derivative by each. Gradient descent needs both steps:

    W = W - lr * dW    (D, C)
    b = b - lr * db    (1, C)

Common ways to lose one: the new value is stored under the name of the
gradient (db = b - lr * db), under a name that is spelled differently, in a
dictionary whose arrays the layers have taken over at the start and never look
up again, or the line is not there. Training still lowers the loss with what
is left, or stands still, and no error shows.

Example (samples first)
-----------------------
The new bias is stored in db; b keeps its value::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))  # samples in rows
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W, b = np.zeros((20, 3)), np.zeros((1, 3))
    for step in range(12):
        Z = X @ W + b
        E = np.exp(Z - Z.max(axis=1, keepdims=True))
        A = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / len(X)
        dZ = (A - Y) / len(X)
        dW = X.T @ dZ
        db = dZ.sum(axis=0, keepdims=True)
        W = W - 0.5 * dW
        db = b - 0.5 * db
        print(step, loss)

Use instead (samples first)
---------------------------
Store it where the next forward pass reads it::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))  # samples in rows
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W, b = np.zeros((20, 3)), np.zeros((1, 3))
    for step in range(12):
        Z = X @ W + b
        E = np.exp(Z - Z.max(axis=1, keepdims=True))
        A = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / len(X)
        dZ = (A - Y) / len(X)
        dW = X.T @ dZ
        db = dZ.sum(axis=0, keepdims=True)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

How it is detected
------------------
Arrays that exist before training, on which the output depends (each is moved
a little to see it), and which are the same array in the next step are
compared with those that change. If a statement of the backward pass computes
the next value and stores it under another name, that statement is blamed;
otherwise the line that created the array. It is an error if the gradient is
computed or the new value is stored elsewhere, and a warning if neither is in
sight: some arrays are left fixed on purpose. A gradient that nothing reads
and that is wrong counts as one where the sum of the same delta over the
samples is the gradient; what is wrong about it is reported at its line. An
array that is given a new value, while all readings of the next forward pass
still find the old one, is confirmed by a run in which the new value is
another: the next output must stay what it is.

Fix safety
----------
Where the new value is stored under another name, it is stored under the
parameter's; where no statement computes it, that of another parameter is
written once more for this one. Where the forward pass keeps the old array,
that array is changed in place (P = P - step becomes P -= step).

Known limits
------------
- Frozen layers and fixed features draw the warning, although they are meant.
- An array that moves the output by less than 1e-9 counts as without effect.
- Two steps of one loop are compared; a parameter that is trained in a later
  phase only is reported as never updated.

References
----------
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  8.3.1: the update of stochastic gradient descent.
- Nielsen (2015), Neural Networks and Deep Learning, Determination Press,
  chapter 1: the update rules for weights and biases.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.gradients import aligned
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.roles import Parameter, Quantity
from backprop_doctor.rules._bias import meant_for
from backprop_doctor.rules._untrained import untrained
from backprop_doctor.values import is_same

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """Arrays set before training that move the output, that stay as they are while others change."""
    output = case.roles.output
    if output is None:
        return
    yield from _stored_apart(case, output)
    for one in case.once(untrained):
        constant, lost = one.constant, one.lost
        gradient = _gradient(case, constant) or next((b.gradient.name for b in meant_for(case, one)), "")
        summary, edits = _update(case, constant, gradient) if gradient else ("", ())
        # Where no gradient at all was found, the pass that was followed may not be the one that trains.
        if not gradient and lost is None and not any(map(case.gradient, case.roles.parameters)):
            continue
        node = case.program.sites[lost.site].statement if lost else case.home(constant)
        if lost is not None:
            target = case.program.sites[lost.site].target
            summary, edits = _stored(case, node, constant)
            message = f"the updated {constant.name} is stored in {target}: {constant.name} itself never changes"
        elif gradient:
            message = f"{constant.name} is never updated, though its gradient {gradient} is computed"
        else:
            message = f"{constant.name} takes part in the forward pass and is never trained"
        yield Sighting(
            node=node,
            message=message,
            label="never updated",
            why=f"the output depends on {constant.name}, so it has a gradient and wants a step like the others",
            evidence=(
                Evidence(f"change of {constant.name} in one step", "0", "not 0"),
                Evidence(f"largest change of {output.name} per unit of {constant.name}", f"{one.moves:.3g}", "not 0"),
            ),
            fix=summary,
            edits=edits,
            # Without a gradient in sight the author may have meant it to stay: features fixed on purpose.
            severity=None if gradient or lost is not None else "warning",
            objects=(constant.object,),
        )


def _stored_apart(case: Case, output: Quantity) -> Iterator[Sighting]:
    """Updates after which the forward pass goes on with the arrays that were there before."""
    apart: dict[ast.stmt, list[Parameter]] = {}
    for parameter in case.roles.parameters:
        if _is_read_no_more(case, parameter, output):
            apart.setdefault(case.site(parameter.updates[0]).statement, []).append(parameter)
    for statement, parameters in apart.items():
        names = " and ".join(dict.fromkeys(parameter.name for parameter in parameters))
        summary, edits = _in_place(case, statement)
        yield Sighting(
            node=statement,
            message=f"the forward pass does not read the new {names}: it goes on with the array that was there before",
            label="never read again",
            why="what is stored under another name, or in another place, leaves the array in use as it is",
            evidence=(
                Evidence(f"change of {output.name} in the next step when what is stored here is another", "0", "not 0"),
            ),
            fix=summary,
            edits=edits,
            objects=tuple(number for p in parameters for number in (p.object, p.successor)),
        )


def _is_read_no_more(case: Case, parameter: Parameter, output: Quantity) -> bool:
    """Whether all that the forward pass reads of a parameter is still there in the next turn, whatever was stored."""
    update = case.site(parameter.updates[0]).statement
    reads = [
        e
        for e in case.step_events
        if e.object == parameter.object
        and e.index <= output.index
        and case.program.sites[e.site].kind == "load"
        and case.program.sites[e.site].statement is not update
    ]
    again = [case.trace.by_key.get((e.site, e.occurrence + case.per_turn(e.key))) for e in reads]
    if not again or any(e is None or e.object != parameter.object for e in again):
        return False
    following = (output.birth[0], output.birth[1] + case.per_turn(output.birth))
    known = case.trace.by_key.get(following)
    if known is None:
        return False
    moved = case.run(dict.fromkeys(parameter.updates, _other), keep=frozenset({following}), last=known.index)
    return is_same(moved.value(following), known.value)


def _other(value: Any) -> Any:
    """A value of the same size that is another one at every element."""
    array = np.asarray(value, np.float64)
    return array + (np.abs(array).mean() or 1.0) * np.random.default_rng(31).uniform(1, 2, array.shape)


def _in_place(case: Case, statement: ast.stmt) -> tuple[str, tuple[Edit, ...]]:
    """The same step, taken by the array that is there."""
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return "", ()
    target, value = case.text(statement.targets[0]), statement.value
    if not isinstance(value, ast.BinOp) or case.text(value.left) != target:
        return "", ()
    sign = {ast.Sub: "-", ast.Add: "+"}.get(type(value.op))
    if sign is None:
        return "", ()
    text = f"{target} {sign}= {case.text(value.right)}"
    return text, (case.edit(statement, text),)


def _stored(case: Case, statement: ast.AST, constant: Quantity) -> tuple[str, tuple[Edit, ...]]:
    """Store the new value where the next forward pass reads it."""
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return "", ()
    text = f"{constant.name} = {case.text(statement.value)}"
    return text, (case.edit(statement.targets[0], constant.name),)


def _update(case: Case, constant: Quantity, gradient: str) -> tuple[str, tuple[Edit, ...]]:
    """The update of another parameter, written for this one, below it."""
    for parameter in reversed(case.roles.parameters):
        other = case.gradient(parameter)
        statement = case.site(parameter.updates[-1]).statement
        position = case.source.position(statement)
        line = case.source_of(statement).whole_line(position.line)
        if other is None or not other.value.name.isidentifier() or position.end_line != position.line:
            continue
        names = {parameter.name: constant.name, other.value.name: gradient}
        words = re.findall(r"\w+", case.text(statement))
        if not all(name in words for name in names) or not line.endswith(("\n", "\r")):
            continue
        pieces = re.split(r"(\w+)", case.text(statement))
        text = "".join(names.get(piece, piece) for piece in pieces)
        ending = line[len(line.rstrip("\r\n")) :]
        indent = line[: len(line) - len(line.lstrip())]
        return text, (case.insertion(position.line + 1, 1, f"{indent}{text}{ending}", statement),)
    return "", ()


def _gradient(case: Case, constant: Quantity) -> str:
    """Name of a backward value that is the gradient of the constant, or ''."""
    deltas = {claim.upstream.object for claim in case.judgement.claims if claim.upstream}
    for value in case.judgement.backward:
        if value.object not in case.binding or aligned(case.value(value), constant.shape) is None:
            continue
        # Of one sample the delta itself is the gradient of a bias: it is there for others, unless it has a name for it.
        is_delta = value.object in deltas or (constant.shape == () and _feeds(case, value))
        if is_delta and len(_names(case, value)) < 2:
            continue
        if case.judgement.claim(value, constant).right:
            return value.name
    return ""


def _feeds(case: Case, value: Quantity) -> bool:
    """Whether another value of the backward pass is computed from a value, as gradients are from a delta."""
    return any(
        case.roles.backward(event) and any(operand.object == value.object for operand in case.children(event))
        for event in case.step_events
        if isinstance(case.program.sites[event.site].node, ast.BinOp)
    )


def _names(case: Case, value: Quantity) -> set[str]:
    """What a value is bound to in the step."""
    targets = (case.program.sites[e.site].target for e in case.step_events if e.object == value.object)
    return {target for target in targets if target}
