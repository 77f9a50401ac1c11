"""BD801 symmetric-initialisation: hidden units start alike and stay copies of each other.

What it does
------------
Finds hidden units that start with equal weights, into them and out of them,
and stay equal while the network is trained.

Why it is wrong
---------------
With equal columns of W1, shape (D, H), and equal rows of W2, shape (H, C),
all H units compute the same number, and receive the same gradient:

    dW1[:, h] = X.T @ ((dZ2 @ W2[h]) * f'(Z1[:, h]))

is the same for every h. They stay copies for ever: H units do the work of
one. With tanh or ReLU and zeros everywhere they do not even move.

Example (samples first)
-----------------------
All weights start at 0::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 6))
    Y = np.eye(3)[(X @ rng.normal(size=(6, 3))).argmax(axis=1)]
    W1, b1 = np.zeros((6, 5)), np.zeros((1, 5))
    W2, b2 = np.zeros((5, 3)), np.zeros((1, 3))
    for step in range(15):
        A1 = np.tanh(X @ W1 + b1)
        Z2 = A1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.mean(np.sum(Y * np.log(A2 + 1e-12), axis=1))
        dZ2 = (A2 - Y) / len(X)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2)
        W2 = W2 - 0.5 * A1.T @ dZ2
        b2 = b2 - 0.5 * dZ2.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * X.T @ dZ1
        b1 = b1 - 0.5 * dZ1.sum(axis=0, keepdims=True)
        print(step, loss)

Use instead (samples first)
---------------------------
Random weights::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 6))
    Y = np.eye(3)[(X @ rng.normal(size=(6, 3))).argmax(axis=1)]
    W1, b1 = rng.normal(size=(6, 5)) / np.sqrt(6), np.zeros((1, 5))
    W2, b2 = rng.normal(size=(5, 3)) / np.sqrt(5), np.zeros((1, 3))
    for step in range(15):
        A1 = np.tanh(X @ W1 + b1)
        Z2 = A1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.mean(np.sum(Y * np.log(A2 + 1e-12), axis=1))
        dZ2 = (A2 - Y) / len(X)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2)
        W2 = W2 - 0.5 * A1.T @ dZ2
        b2 = b2 - 0.5 * dZ2.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * X.T @ dZ1
        b1 = b1 - 0.5 * dZ1.sum(axis=0, keepdims=True)
        print(step, loss)

How it is detected
------------------
If all units of a layer give the same numbers in the first step, and its
matrix starts with the same weights for all of them, the program is run for
some more steps. If they are still the same, to one part in 10^10, the line
that makes the weights is blamed.

Fix safety
----------
np.zeros((a, b)), np.ones((a, b)) and np.full((a, b), c) become
np.random.randn(a, b) * np.sqrt(1 / a), with the side of the inputs below the
root. The changed program is examined again from another seed, and the fix is
called verified only if the finding is gone and no error is new.

Known limits
------------
- Zeros in the hidden weights alone, or in the output weights alone, are no
  fault: the first step makes the units different.
- Layers in which only some of the units are copies are not reported.

References
----------
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  8.4: initial parameters need to break symmetry.
- Rumelhart, Hinton and Williams (1986), Learning representations by
  back-propagating errors, Nature 323, 533-536: small random weights.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.units import hidden_values, units_of
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.roles import Parameter, Quantity

SEVERITY = "error"

TURNS = 4
ALIKE = 1e-10


def examine(case: Case) -> Iterator[Sighting]:
    """Hidden units that give the same numbers in the first step and still after some updates."""
    seen: set[int] = set()
    # A value with a name says more than the product it is made from.
    values = sorted(hidden_values(case), key=lambda q: not q.name.replace(".", "").isidentifier())
    matrices = {p.object: p for p in case.roles.parameters if sum(n > 1 for n in p.shape) == 2}
    reads = [e for e in case.step_events if e.object in matrices]
    for units in values:
        parameter = next((matrices[e.object] for e in reversed(reads) if e.index <= units.index), None)
        if parameter is None or parameter.object in seen or not _alike(case, units, case.trace.value(units.birth)):
            continue
        if not _starts_equal(case, parameter, units):
            continue  # units are alike where they are all dead, or see an input of zeros
        site, first = units.birth
        keys = [(site, first + turn * case.per_turn(units.birth)) for turn in range(1, TURNS)]
        trace = case.run({}, keep=frozenset(keys), limit=case.step_limit(TURNS))
        later = [trace.value(key) for key in keys if trace.value(key) is not None]
        if not later or not all(_alike(case, units, value) for value in later):
            continue
        seen.add(parameter.object)
        array = units_of(case, case.trace.value(units.birth))
        count = array.shape[1] if array is not None else 0
        text, edits = _fix(case, parameter, units)
        yield Sighting(
            node=case.home(parameter),
            message=f"the {count} hidden units of {units.name} start with equal weights and stay copies of each other",
            label="all units start alike",
            why=f"equal units receive equal gradients: {count} units do the work of one",
            evidence=(
                Evidence(
                    f"largest difference between units of {units.name} after {len(later)} updates",
                    f"{max(_difference(case, value) for value in later):.3g}",
                    "above 0",
                ),
            ),
            fix=text,
            edits=edits,
        )
        return


def _alike(case: Case, units: Quantity, value: object) -> bool:
    array = units_of(case, value)
    if array is None or array.shape[1] < 2 or not np.all(np.isfinite(array)):
        return False
    return _difference(case, value) <= ALIKE * max(float(np.abs(array).max()), 1e-300)


def _difference(case: Case, value: object) -> float:
    array = units_of(case, value)
    assert array is not None
    return float(np.ptp(array, axis=1).max())


def _starts_equal(case: Case, parameter: Parameter, units: Quantity) -> bool:
    """Whether a matrix starts with the same weights for all units."""
    weights, array = case.trace.value(parameter.birth), units_of(case, case.trace.value(units.birth))
    if weights is None or array is None:
        return False
    axes = [axis for axis, n in enumerate(np.shape(weights)) if n == array.shape[1]]
    return any(not np.ptp(np.asarray(weights, np.float64), axis=axis).any() for axis in axes)


def _fix(case: Case, parameter: Parameter, units: Quantity) -> tuple[str, tuple[Edit, ...]]:
    """Random numbers in place of a call that fills an array with one number."""
    text = "start the weights at small random numbers"
    home = case.home(parameter)
    calls = [n for n in ast.walk(home) if isinstance(n, ast.Call) and n.args and isinstance(n.args[0], ast.Tuple)]
    if len(calls) != 1 or not isinstance(calls[0].func, ast.Attribute) or case.text(calls[0].func.value) != "np":
        return text, ()
    shape = calls[0].args[0]
    assert isinstance(shape, ast.Tuple)
    array = units_of(case, case.trace.value(units.birth))
    if len(shape.elts) != 2 or array is None:
        return text, ()
    count, first_is_units = array.shape[1], parameter.shape[0] == array.shape[1]
    if parameter.shape == (count, count):
        first_is_units = case.axes.input_samples == 1
    fan_in = case.text(shape.elts[1 if first_is_units else 0])
    inside = ", ".join(case.text(side) for side in shape.elts)
    return text, (case.edit(home, f"np.random.randn({inside}) * np.sqrt(1 / {fan_in})"),)
