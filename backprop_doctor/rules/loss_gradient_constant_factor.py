"""BD201 loss-gradient-constant-factor: all gradients are one constant times those of the loss shown.

What it does
------------
Notes that all gradients are one constant times the gradients of the loss that
is computed: 1/2, 2, the number of samples, and so on.

Why it is wrong
---------------
It is not wrong as such. For C outputs and N samples the loss L = sum((A -
Y)**2) / N has the derivative

    dL/dA = 2 * (A - Y) / N,    shape (N, C)

and (A - Y) / N is the derivative of L / 2. A step along either goes downhill,
one half as far as the other: the learning rate absorbs the constant. It is
worth knowing when a learning rate is copied from elsewhere, when a penalty on
the weights is added to one side only, or when a gradient check is done by
hand and is off by this factor.

Example (samples first)
-----------------------
The 2 of the square is missing in dA::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))  # samples in rows
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W, b = 0.1 * rng.normal(size=(20, 3)), np.zeros((1, 3))
    for step in range(12):
        A = X @ W + b
        loss = np.sum((A - Y) ** 2) / len(X)
        dA = (A - Y) / len(X)
        dW = X.T @ dA
        db = dA.sum(axis=0, keepdims=True)
        W = W - 0.05 * dW
        b = b - 0.05 * db
        print(step, loss)

Use instead (samples first)
---------------------------
Keep the 2, or put 1/2 in front of the loss::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))  # samples in rows
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W, b = 0.1 * rng.normal(size=(20, 3)), np.zeros((1, 3))
    for step in range(12):
        A = X @ W + b
        loss = np.sum((A - Y) ** 2) / len(X)
        dA = 2 * (A - Y) / len(X)
        dW = X.T @ dA
        db = dA.sum(axis=0, keepdims=True)
        W = W - 0.05 * dW
        b = b - 0.05 * db
        print(step, loss)

How it is detected
------------------
Each parameter is moved along random directions, and the loss the program
computes is differentiated numerically, by central differences. The gradient
of every parameter has to be proportional to that derivative (relative error
below 1e-5) with the same constant, and the constant is not 1.

Fix safety
----------
No edit is proposed. Only the author knows which side is meant, and the
program trains either way.

Known limits
------------
- Silent where one of the gradients cannot be found or is wrong: then another
  rule has more to say.
- Different constants for different parameters are a fault, reported as BD311.
- The constant is named after the sizes of the run. If two formulas give the
  same number, the shorter one is shown.
- A constant of -1 is named like any other; whether the steps go uphill is the
  question of BD402.

References
----------
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  5.2: error functions, with the factor 1/2, and their derivatives.
- Nielsen (2015), Neural Networks and Deep Learning, Determination Press,
  chapter 2: the quadratic cost with the factor 1/(2n).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.gradients import aligned, fit
from backprop_doctor.records import Evidence
from backprop_doctor.roles import Quantity

SEVERITY = "note"
SAME_WITHIN = 1e-4


def examine(case: Case) -> Iterator[Sighting]:
    """Every gradient against the derivative of the declared loss: one constant, and it is not 1."""
    declared = case.judgement.declared
    factor = None if declared is None else _factor(case, declared)
    if declared is None or factor is None or abs(factor - 1) < SAME_WITHIN:
        return
    # A sum on the way to the mean that is shown is no loss of its own.
    others = (_factor(case, loss) for loss in case.judgement.losses if loss.index > declared.index)
    if any(other is not None and abs(other - 1) < SAME_WITHIN for other in others):
        return
    convention = "a convention, absorbed by the learning rate"
    if factor < 0:
        convention = "they point down it, and the steps add them" if _are_added(case) else "the sign is another one"
    yield Sighting(
        node=case.home(declared),
        message=f"the gradients are {case.factor(factor)} times those of {declared.name}, all of them alike: "
        + convention,
        label=f"gradients are {case.factor(factor)} times this",
        evidence=(Evidence("gradient over derivative of the loss", case.factor(factor), "1"),),
    )


def _are_added(case: Case) -> bool:
    """Whether the steps go where the gradients point."""
    signs = []
    for parameter in case.roles.parameters:
        gradient = case.gradient(parameter)
        before, after = case.live.value(parameter.birth), case.live.value(parameter.updates[-1])
        value = None if gradient is None else aligned(case.live.value(gradient.value.birth), parameter.shape)
        if value is not None and np.shape(before) == np.shape(after):
            signs.append(float(np.sum((np.asarray(after) - before) * value)))
    return bool(signs) and all(sign > 0 for sign in signs)


def _factor(case: Case, loss: Quantity) -> float | None:
    """All gradients over the derivatives of a number, if that is one constant."""
    factors = []
    for parameter in case.roles.parameters:
        gradient = case.gradient(parameter)
        if gradient is not None and gradient.value.object not in case.binding:
            return None  # a part of the line of the step: its factor stands in the rest of the line
        value = aligned(case.value(gradient.value), parameter.shape) if gradient else None
        tangents = case.measurement.tangents(parameter.birth)
        if value is None or any(loss.birth not in t.derivatives for t in tangents):
            return None
        numeric = np.array([float(np.sum(t.derivatives[loss.birth])) for t in tangents])
        found = fit(np.array([float(np.sum(value * t.direction)) for t in tangents]), numeric)
        if not found.right:
            return None
        factors.append(found.factor)
    same = factors and max(factors) - min(factors) <= SAME_WITHIN * abs(factors[0])
    return factors[0] if same else None
