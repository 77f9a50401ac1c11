"""BD402 update-sign: a step goes up the loss instead of down.

What it does
------------
Finds a step that goes up the loss instead of down: a plus for a minus in an
update, or a delta with the wrong sign.

Why it is wrong
---------------
For a small learning rate lr and the gradient G = dL/dW, of W's shape (D, C),

    L(W - lr * G) = L(W) - lr * sum(G**2) + terms in lr**2
    L(W + lr * G) = L(W) + lr * sum(G**2) + terms in lr**2

so the first lowers the loss and the second raises it. Two signs decide: that
of the delta and that of the update. Output minus target goes with a minus in
the update, target minus output with a plus. One of each is right, and it does
not matter which.

Example (samples first)
-----------------------
W goes up the loss, b goes down::

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
        W = W + 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

Use instead (samples first)
---------------------------
Subtract both::

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
The step each parameter really takes (value after minus value before) is
compared with its gradient, and the sign of the gradient with the numeric
derivative of the loss. A cosine above 1e-6 means uphill. Whether the loss is
one to make smaller is tested too, by moving the output a little towards the
labels: a log-likelihood rises then, and going up is right if it
is minus one of the usual losses. If every step goes
uphill and all gradients start from one delta, that line is blamed, otherwise
each update. An update that subtracts a gradient whose own sign is wrong is
left to BD311, which names the line of that gradient.

Fix safety
----------
A minus takes the place of the plus in the update, or the two sides of the
difference in the delta are exchanged. The changed program is examined again
from another seed, and the fix is called verified only if the finding is gone
and no error is new.

Known limits
------------
- Judged for gradients that are right up to a factor and traced to the loss.
- The first step alone is judged. A learning rate that turns negative later
  stays unseen.
- With momentum the first step is that of plain descent; a sign that is wrong
  only in the memory of earlier steps stays unseen.

References
----------
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  4.3: gradient-based optimization.
- Nielsen (2015), Neural Networks and Deep Learning, Determination Press,
  chapter 1: learning with gradient descent.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.adjoints import CATALOGUE, Adjoint
from backprop_doctor.case import Case, Sighting
from backprop_doctor.gradients import aligned, fit
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.roles import Parameter
from backprop_doctor.rules import batch_averaging_missing_or_twice

SEVERITY = "error"
# A wrong delta that points so nearly where the right one does still tells uphill from downhill.
SURE_BELOW = 0.7
UP = "up the loss"
Array = NDArray[np.float64]


def examine(case: Case) -> Iterator[Sighting]:
    """Slope of the loss along each step, the step taken from the run and the loss from output and labels."""
    slopes = {p.object: _slope(case, p) for p in case.roles.parameters}
    uphill = [p for p in case.roles.parameters if (slopes[p.object] or 0.0) > 1e-6]
    if not uphill:
        return
    judged = [p for p in case.roles.parameters if slopes[p.object] is not None]
    roots = {id(r): r for p in uphill if (g := case.gradient(p)) and g.right for r in case.chain(g)[-1:]}
    all_subtract = all((_step_sign(case, p) or 0) < 0 for p in uphill)
    if len(uphill) == len(judged) and len(roots) == 1 and all_subtract:
        root = next(iter(roots.values())).value
        node = case.home(root)
        yield Sighting(
            node=node,
            message=f"{root.name} has the wrong sign: every parameter moves up the loss",
            label="sign",
            why="subtracting lr * gradient goes downhill when the delta is output - target",
            evidence=tuple(_evidence(case, p, slopes[p.object] or 0.0) for p in uphill[:3]),
            fix=_negated(node, case)[0],
            edits=_negated(node, case)[1],
            objects=(root.object,),
        )
        return
    for parameter in uphill:
        if _is_of_the_gradient(case, parameter):
            continue
        site = case.site(parameter.updates[-1])
        node = site.statement if site.kind == "store" else site.node
        text, edits = _flipped(node, case)
        yield Sighting(
            node=node,
            message=f"{parameter.name} moves {_uphill(case, parameter)}: the sign of its update is wrong",
            label="sign",
            why="a small step along -gradient lowers the loss; this one raises it"
            if _uphill(case, parameter) == UP
            else "a small step along the gradient raises the likelihood; this one lowers it",
            evidence=(_evidence(case, parameter, slopes[parameter.object] or 0.0),),
            fix=text,
            edits=edits,
            objects=(parameter.successor,),
        )


def _is_of_the_gradient(case: Case, parameter: Parameter) -> bool:
    """Whether the update subtracts the gradient, and that is called wrong itself: by a factor with a sign."""
    gradient = case.gradient(parameter)
    if gradient is None or (_step_sign(case, parameter) or 0) >= 0:
        return False
    made = {link.value.object for link in case.chain(gradient)}
    return any(made & set(sighting.objects) for sighting in case.once(_odd_factors))


def _odd_factors(case: Case) -> list[Sighting]:
    return list(batch_averaging_missing_or_twice.examine(case))


def _uphill(case: Case, parameter: Parameter) -> str:
    """Away from what is sought: up a loss, or down what the program climbs."""
    gradient = case.gradient(parameter)
    declared = case.judgement.declared
    if gradient is None or declared is None or case.chain(gradient)[-1].given != "declared":
        return UP
    return UP if case.once(_direction) > 0 else f"down {declared.name}, which grows as the output nears the labels"


def _evidence(case: Case, parameter: Parameter, slope: float) -> Evidence:
    way = _uphill(case, parameter)
    along = "the gradient" if way == UP else f"the way {way.partition(',')[0]}"
    return Evidence(f"cosine between the step of {parameter.name} and {along}", f"{slope:+.2f}", "below 0")


def _slope(case: Case, parameter: Parameter) -> float | None:
    """Cosine between the step and the gradient of the loss; None where no gradient is known to be right."""
    gradient = case.gradient(parameter)
    total = sure = case.total_factor(gradient) if gradient and gradient.right else None
    if gradient is not None and gradient.right and total is None:
        total = _likely(case, gradient)
    step = _step(case, parameter)
    if gradient is None or total is None or step is None:
        return None
    direction = case.once(_direction) if case.chain(gradient)[-1].given == "declared" else 1
    if not direction:
        return None
    parts = case.judgement.parts.get(parameter.object, [gradient.value])
    values = [aligned(case.live.value(q.birth), parameter.shape) for q in parts]
    value = step if gradient.is_step else sum((v for v in values if v is not None), np.zeros(parameter.shape))
    if any(v is None for v in values) or not np.any(step) or not np.any(value):
        return None
    # Weight decay is no descent of the loss: what points along the parameter itself does not count, nor what moves
    # where the loss has no slope.
    step, value, own = map(np.atleast_1d, (step, value, np.asarray(case.live.value(parameter.birth), np.float64)))
    sloping = value != 0
    step, value, own = step[sloping], value[sloping], own[sloping]
    pairs = [(step, value)]
    if value.size > 2:
        rest = _without(step, own), _without(value, own)
        if any(np.linalg.norm(r) <= 1e-9 * np.linalg.norm(all_of) for r, all_of in zip(rest, pairs[0], strict=True)):
            return None
        pairs.append(rest)
    cosines = [float(np.sum(s * v) / (np.linalg.norm(s) * np.linalg.norm(v) or 1.0)) for s, v in pairs]
    # Beside a wrong delta only what adds its own gradient has a wrong sign, not what subtracts one that points away.
    if sure is None and min(*cosines, total) <= 0:
        return None
    # Uphill is what goes up with weight decay and without.
    return min(direction * float(np.sign(total)) * cosine for cosine in cosines)


def _likely(case: Case, gradient: Adjoint) -> float | None:
    """The factor of a gradient over the derivative of the loss where a hidden delta is wrong, but not by much."""
    links = case.chain(gradient)
    near = all(link.right or link.fit.residual < SURE_BELOW for link in links)
    if links[-1].given == "adjoint" or not links[-1].right or not near:
        return None
    return float(np.prod([link.fit.factor for link in links])) or None


def _without(array: Array, direction: Array) -> Array:
    norm = float(np.sum(direction * direction))
    return array - direction * (float(np.sum(array * direction)) / norm if norm else 0.0)


def _direction(case: Case) -> int:
    """Where the declared loss goes as the output approaches the labels: 1 for down, -1 for up, as a likelihood does.

    0 where that cannot be told.
    """
    output, target, declared = case.roles.output, case.judgement.target, case.judgement.declared
    if output is None or target is None or declared is None:
        return 0
    p = np.asarray(case.value(output), np.float64)
    if p.shape != target.shape:
        return 0
    towards = p + 1e-3 * (target - p)
    moved = case.measurement.run({output.birth: lambda v: towards}, keep=frozenset({declared.birth}))
    before, after = case.value(declared), moved.value(declared.birth)
    if after is None:
        return 0
    return 1 if float(np.sum(after)) < float(np.sum(before)) else -1 if _is_likelihood(case, p, target) else 0


def _is_likelihood(case: Case, output: Array, target: Array) -> bool:
    """Whether the declared loss is the negative of a usual one, as a function of the output and just these labels."""
    declared, birth = case.judgement.declared, case.roles.meetings[0].output.birth
    tangents = case.measurement.tangents(birth)
    if declared is None or any(declared.birth not in t.derivatives for t in tangents):
        return False
    numeric = np.array([float(np.sum(t.derivatives[declared.birth])) for t in tangents])
    for slope in CATALOGUE.values():
        usual = slope(output, target)
        if usual is not None:
            found = fit(np.array([float(np.sum(usual * t.direction)) for t in tangents]), numeric)
            if found.right and found.factor < 0:
                return True
    return False


def _step(case: Case, parameter: Parameter) -> Array | None:
    after, before = case.live.value(parameter.updates[-1]), case.live.value(parameter.birth)
    if after is None or np.shape(after) != np.shape(before):
        return None
    return np.asarray(after, np.float64) - np.asarray(before, np.float64)


def _step_sign(case: Case, parameter: Parameter) -> int | None:
    """Sign of the step relative to the program's own gradient."""
    gradient, step = case.gradient(parameter), _step(case, parameter)
    if gradient is not None and gradient.is_step:
        return 1
    value = aligned(case.live.value(gradient.value.birth), parameter.shape) if gradient else None
    return None if value is None or step is None else int(np.sign(np.sum(step * value)))


def _negated(node: ast.AST, case: Case) -> tuple[str, tuple[Edit, ...]]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
        left, right = case.text(node.left), case.text(node.right)
        return f"{right} - {left}", (case.edit(node.left, right), case.edit(node.right, left))
    return "change the sign", (case.edit(node, f"-({case.text(node)})"),)


def _flipped(node: ast.AST, case: Case) -> tuple[str, tuple[Edit, ...]]:
    """``+`` for ``-`` in ``W = W + step`` and ``W += step``, and the reverse."""
    first: ast.expr
    if isinstance(node, ast.AugAssign) and isinstance(node.op, (ast.Add, ast.Sub)):
        first, second, old = node.target, node.value, "+" if isinstance(node.op, ast.Add) else "-"
    elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        first, second, old = node.left, node.right, "+" if isinstance(node.op, ast.Add) else "-"
    else:
        return "change the sign", ()
    start = case.source.position(first)
    line = case.source_of(first).line(start.end_line)
    column = line.find(old, start.end_column - 1)
    if column < 0 or case.source.position(second).line != start.end_line:
        return "change the sign", ()
    new = "-" if old == "+" else "+"
    where = case.insertion(start.end_line, column + 1, "", first).position
    return f"{new} instead of {old}", (Edit(replace(where, end_column=column + 2), new),)
