"""BD306 activation-derivative-wrong-function: a delta is multiplied by the derivative of another function.

What it does
------------
Finds a delta that is multiplied by something that is not the derivative of
its layer's activation, at any argument: the derivative of another function,
or a comparison that is always true.

Why it is wrong
---------------
The layer is A1 = act(Z1), element by element, with arrays of shape (N, H).
Its delta is

    dZ1 = dA1 * act'(Z1)

and act' belongs to this one function: 1 - A1**2 for tanh, A1 * (1 - A1) for
the sigmoid, Z1 > 0 for ReLU. The derivative of another function scales
every unit by a wrong number. A1 >= 0 looks like the one of ReLU, and is
true for every output of a ReLU, so that nothing is held back.

Example (samples first)
-----------------------
The units are tanh, and the derivative is that of the sigmoid::

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
        dZ1 = (dZ2 @ W2.T) * (A1 * (1 - A1))
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

Example (features first)
------------------------
The same, with samples in columns::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 200))
    labels = (rng.normal(size=(3, 20)) @ X).argmax(axis=0)
    Y = np.eye(3)[labels].T
    W1, b1 = 0.3 * rng.normal(size=(16, 20)), np.zeros((16, 1))
    W2, b2 = 0.3 * rng.normal(size=(3, 16)), np.zeros((3, 1))
    for step in range(12):
        Z1 = W1 @ X + b1
        A1 = np.tanh(Z1)
        Z2 = W2 @ A1 + b2
        E = np.exp(Z2 - Z2.max(axis=0, keepdims=True))
        A2 = E / E.sum(axis=0, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / X.shape[1]
        dZ2 = (A2 - Y) / X.shape[1]
        dW2 = dZ2 @ A1.T
        db2 = dZ2.sum(axis=1, keepdims=True)
        dZ1 = (W2.T @ dZ2) * (A1 * (1 - A1))
        dW1 = dZ1 @ X.T
        db1 = dZ1.sum(axis=1, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

Use instead (samples first)
---------------------------
The derivative of tanh::

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

Use instead (features first)
----------------------------
The derivative of tanh::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 200))
    labels = (rng.normal(size=(3, 20)) @ X).argmax(axis=0)
    Y = np.eye(3)[labels].T
    W1, b1 = 0.3 * rng.normal(size=(16, 20)), np.zeros((16, 1))
    W2, b2 = 0.3 * rng.normal(size=(3, 16)), np.zeros((3, 1))
    for step in range(12):
        Z1 = W1 @ X + b1
        A1 = np.tanh(Z1)
        Z2 = W2 @ A1 + b2
        E = np.exp(Z2 - Z2.max(axis=0, keepdims=True))
        A2 = E / E.sum(axis=0, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / X.shape[1]
        dZ2 = (A2 - Y) / X.shape[1]
        dW2 = dZ2 @ A1.T
        db2 = dZ2.sum(axis=1, keepdims=True)
        dZ1 = (W2.T @ dZ2) * (1 - A1**2)
        dW1 = dZ1 @ X.T
        db1 = dZ1.sum(axis=1, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

How it is detected
------------------
The slope of each elementwise step of the forward pass is measured by
central differences. If a factor of a wrong delta, multiplied by that slope,
is the right delta (error below 1e-5), then what the line has instead of the
slope is a wrong derivative. It has to be the same for other labels. BD305
speaks first: the right function at a wrong argument is its matter.

Fix safety
----------
For tanh, sigmoid and ReLU the derivative is written in the names of the
program; for other functions the finding gives the numbers only. The changed
program is examined again from another seed, and the fix is called verified
only if the finding is gone and no error is new.

Known limits
------------
- Activations that act on each element alone.
- ReLU at exactly 0 has no derivative, and either choice is right.
- A derivative that is wrong by a constant factor alone is no wrong
  direction, and is seen only against other layers (BD311).

References
----------
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  5.3.1.
- Nielsen (2015), Neural Networks and Deep Learning, Determination Press,
  chapter 2, the four equations of backpropagation.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.case import Case, Sighting
from backprop_doctor.dependence import disturbed
from backprop_doctor.gradients import aligned
from backprop_doctor.program import Event
from backprop_doctor.records import Evidence
from backprop_doctor.rules._activation import Activation, activations_after, derivative_text
from backprop_doctor.rules._lines import Line, wrong_lines

SEVERITY = "error"
LAST_RESORT = 1
Array = NDArray[np.float64]


def examine(case: Case) -> Iterator[Sighting]:
    """A factor of the delta times the measured slope fits: what it is multiplied by is no slope."""
    for line in case.once(wrong_lines):
        found = next((s for a in activations_after(case, line.link) if (s := _sighting(line, a))), None)
        if found is not None:
            yield found


def _sighting(line: Line, activation: Activation) -> Sighting | None:
    case, b, z, a = line.case, line.value, activation.input, activation.output
    for event in reversed(line.reads):
        error = aligned(case.value(event.key), activation.slope.shape)
        if error is None or not case.roles.on_labels[event.index] or np.any(error == 0):
            continue
        fit = line.fits(error * activation.slope)
        used = np.reshape(case.value(b), error.shape) / error
        if not fit.right or not _is_a_slope(line, event, used):
            continue
        worst = np.unravel_index(int(np.argmax(np.abs(used - activation.slope))), used.shape)
        at = float(np.reshape(case.value(z), used.shape)[worst])
        factor = _factor(line, used)
        node = case.site(factor.key).node if factor is not None else case.home(b)
        formula = derivative_text(activation)
        text = formula if factor is not None else f"{case.text(case.site(event.key).node)} * {formula}"
        return Sighting(
            node=node,
            message=f"{b.name} is not multiplied by the derivative of {a.name} = {activation.name}({z.name}), but by "
            f"another function",
            label=f"not the derivative of {activation.name}",
            why=f"d{z.name} = d{a.name} * {activation.name}'({z.name}), element by element",
            evidence=(
                Evidence(
                    f"derivative of {activation.name} at {z.name} = {at:.3g}",
                    f"{used[worst]:.3g}",
                    f"{activation.slope[worst]:.3g} by differences",
                ),
                *line.evidence("the same with the measured derivative", fit),
            ),
            fix=formula,
            edits=(case.edit(node, text),) if formula else (),
            objects=(b.object,),
        )
    return None


def _is_a_slope(line: Line, error: Event, used: Array) -> bool:
    """Whether the factor stays as it is when the labels change: a derivative knows nothing of them."""
    case, key = line.case, line.value.birth
    actions = {labels.birth: disturbed for labels in case.roles.labels}
    other = case.measured(actions, frozenset({key, error.key}), line.value.index)
    b, e = other.value(key), other.value(error.key)
    if b is None or e is None or np.size(b) != used.size or np.size(e) != used.size:
        return False
    with np.errstate(all="ignore"):
        again = np.reshape(b, used.shape) / np.reshape(e, used.shape)
    return bool(np.allclose(again, used, rtol=1e-6, atol=1e-9)) and bool(np.ptp(used) > 0 or np.all(used == 1))


def _factor(line: Line, used: Array) -> Event | None:
    """The outermost expression of the line that is the factor."""
    for event in reversed(line.reads):
        value = aligned(line.case.value(event.key), used.shape)
        if value is not None and not line.case.roles.on_labels[event.index] and np.allclose(value, used):
            return event
    return None
