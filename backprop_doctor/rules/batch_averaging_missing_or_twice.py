"""BD311 batch-averaging-missing-or-twice: the gradients of one network carry different factors.

What it does
------------
Finds gradients of one network that carry different constant factors: a
division by the number of samples that is missing for one parameter, or done
twice on the way to another.

Why it is wrong
---------------
One loss has one gradient, made of the parts for all parameters. A constant in
front of all parts is a choice of the learning rate; a constant in front of
one part is a wrong direction. With N samples, the mean loss, and dZ2 that
already holds the 1/N,

    dZ1 = (dZ2 @ W2.T) * act'(Z1)    (N, H), holds the same 1/N
    dW1 = X.T @ dZ1                  (D, H), and nothing is left to divide

A second division in dZ1 makes dW1 and db1 smaller by 1/N, and the first layer
nearly stands still: with 200 samples it learns 200 times more slowly than the
second. The loss still falls, because the second layer learns.

Example (samples first)
-----------------------
dZ2 is divided by the number of samples, and dZ1 once more::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W1, b1 = 0.3 * rng.normal(size=(20, 16)), np.zeros((1, 16))
    W2, b2 = 0.3 * rng.normal(size=(16, 3)), np.zeros((1, 3))
    for step in range(12):
        Z1 = X @ W1 + b1
        A1 = np.tanh(Z1)
        Z2 = A1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / len(X)
        dZ2 = (A2 - Y) / len(X)
        dW2 = A1.T @ dZ2
        db2 = dZ2.sum(axis=0, keepdims=True)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2) / len(X)
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

Use instead (samples first)
---------------------------
Divide once. Everything that follows from dZ2 has the factor already::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W1, b1 = 0.3 * rng.normal(size=(20, 16)), np.zeros((1, 16))
    W2, b2 = 0.3 * rng.normal(size=(16, 3)), np.zeros((1, 3))
    for step in range(12):
        Z1 = X @ W1 + b1
        A1 = np.tanh(Z1)
        Z2 = A1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / len(X)
        dZ2 = (A2 - Y) / len(X)
        dW2 = A1.T @ dZ2
        db2 = dZ2.sum(axis=0, keepdims=True)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2)
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

How it is detected
------------------
Each right gradient is compared with the numeric derivative of the loss,
summed over the samples, along the chain of deltas it was computed from; the
factors on the way are multiplied. The factor most gradients have counts as
meant; with a tie it is that of the gradient nearest to the output. A gradient
that is off by more than 1e-4 is followed back to the first line that brings
in a factor of its own and on which no healthy gradient rests; that line is
blamed.

Fix safety
----------
A factor that stands in the line as a part of its own is taken out. Otherwise
it is shown as a formula (N, 1/N, 2); whether it goes here or into the lines
that lack it is for the author to say.

Known limits
------------
- At least two gradients must be right up to a factor and traced to the loss.
- With two parameters there is no majority, and the wrong one of the two lines
  may be blamed.
- Where a gradient is written into the update itself, the learning rate is
  part of its factor; different rates for different parameters then look like
  different factors.
- One factor common to all gradients is no fault (BD201).

References
----------
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  8.1.3: the gradient of the mean as an average over a minibatch.
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  5.3.1: the gradient of a sum over samples is the sum of their gradients.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator

import numpy as np

from backprop_doctor.adjoints import Adjoint
from backprop_doctor.case import Case, Sighting
from backprop_doctor.gradients import aligned, fit
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.roles import Parameter

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """Each gradient over the derivative of the same summed loss: the ratio has to be the same for all."""
    totals: list[tuple[Parameter, Adjoint, float]] = []
    found = [(p, case.gradient(p)) for p in case.roles.parameters]
    # A gradient written into the update has no value of its own: its factors may stand anywhere in the step.
    inline = any(g is not None and g.value.object not in case.binding for _, g in found)
    for parameter, gradient in found:
        total = case.total_factor(gradient) if gradient and gradient.right else None
        if gradient is not None and total is not None and inline:
            total = _step_factor(case, parameter, gradient, total)
        if gradient is not None and total is not None:
            totals.append((parameter, gradient, total))
    if len(totals) < 2:
        return
    usual = _usual([t for _, _, t in totals])
    odd = [(p, g, t) for p, g, t in totals if abs(t / usual - 1) > 1e-4]
    blamed: set[int] = set()
    for parameter, gradient, total in odd:
        link = _culprit(case, gradient, [g for _, g, t in totals if abs(t / usual - 1) <= 1e-4])
        ratio = total / usual
        if inline and not _is_power(ratio, case.samples):
            continue  # parameters may have a learning rate each
        if link.value.object in blamed:
            continue
        blamed.add(link.value.object)
        fix, edits = _without(case, link, ratio)
        yield Sighting(
            node=case.home(link.value),
            message=f"{link.value.name} carries a factor of {case.factor(ratio)} that the other gradients do not have",
            label=f"extra factor {case.factor(ratio)}",
            why="one loss has one gradient: its parts may share a constant factor, not have one each",
            evidence=tuple(
                Evidence(
                    f"gradient of {p.name} over the derivative of the summed loss", case.factor(t), case.factor(usual)
                )
                for p, _, t in [(parameter, gradient, total)]
            ),
            fix=fix,
            edits=edits,
            objects=(link.value.object,),
        )


def _without(case: Case, link: Adjoint, ratio: float) -> tuple[str, tuple[Edit, ...]]:
    """Take the factor out where it is a part of its own of the product, or the line that makes it is a quotient."""
    for node in ast.walk(case.statement(link.value)):
        if not isinstance(node, ast.BinOp) or not isinstance(node.op, (ast.Mult, ast.Div)):
            continue
        sides = [(node.right, node.left)] + ([(node.left, node.right)] if isinstance(node.op, ast.Mult) else [])
        for factor, rest in sides:
            number = case.number(factor)
            number = 1 / number if number and isinstance(node.op, ast.Div) else number
            if number and abs(number / ratio - 1) < 1e-4:
                return f"without {case.text(factor)}", (case.edit(node, case.text(rest)),)
    return "", ()


def _is_power(ratio: float, samples: int) -> bool:
    return samples > 1 and any(abs(abs(ratio) / float(samples) ** k - 1) < 1e-4 for k in (-2, -1, 1, 2))


def _step_factor(case: Case, parameter: Parameter, gradient: Adjoint, total: float) -> float | None:
    """Step over derivative of the summed loss; None where the step is not proportional to the gradient."""
    before, after = case.live.value(parameter.birth), case.live.value(parameter.updates[-1])
    value = aligned(case.live.value(gradient.value.birth), parameter.shape)
    if after is None or value is None or np.shape(before) != np.shape(after):
        return None
    ratio = fit((np.asarray(after) - before).ravel(), value.ravel())
    return total * ratio.factor if ratio.residual < 1e-6 else None


def _usual(totals: list[float]) -> float:
    """The commonest factor, the one nearest the output winning a tie."""
    rounded = [float(f"{t:.6g}") for t in totals]
    counts = Counter(rounded)
    most = max(counts.values())
    return next(t for t, r in zip(reversed(totals), reversed(rounded), strict=True) if counts[r] == most)


def _culprit(case: Case, gradient: Adjoint, healthy: list[Adjoint]) -> Adjoint:
    """The first link from the loss whose own factor is not 1, unless healthy gradients rest on it too."""
    trusted = {link.value.object for g in healthy for link in case.chain(g)}
    links = case.chain(gradient)
    for link in reversed(links[1:]):
        if link.value.object not in trusted and abs(link.fit.factor - 1) > 1e-4:
            return link
    return gradient
