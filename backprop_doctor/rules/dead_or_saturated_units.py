"""BD804 dead-or-saturated-units: most units of a layer are switched off for every sample.

What it does
------------
Warns of layers most of whose units are switched off for every sample, at the
start or after some steps.

Why it is wrong
---------------
The slope of a ReLU is 0 below 0. A unit whose argument is below 0 for all N
samples passes nothing on, and receives

    dW[:, h] = X.T @ (dA[:, h] * 0) = 0

so that it stays as it is. Biases far below 0, weights that are nearly all
negative, or one step that is too long do that.

Example (samples first)
-----------------------
Biases of -9 keep three of five units from ever being lifted::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 6))
    Y = np.eye(3)[(X @ rng.normal(size=(6, 3))).argmax(axis=1)]
    W1, b1 = rng.normal(size=(6, 5)) / 2.5, np.array([[-9, -9, -9, 0, 0.0]])
    W2, b2 = rng.normal(size=(5, 3)) / np.sqrt(5), np.zeros((1, 3))
    for step in range(15):
        Z1 = X @ W1 + b1
        A1 = np.maximum(0, Z1)
        Z2 = A1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.mean(np.sum(Y * np.log(A2 + 1e-12), axis=1))
        dZ2 = (A2 - Y) / len(X)
        dZ1 = (dZ2 @ W2.T) * (Z1 > 0)
        W2 = W2 - 0.5 * A1.T @ dZ2
        b2 = b2 - 0.5 * dZ2.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * X.T @ dZ1
        b1 = b1 - 0.5 * dZ1.sum(axis=0, keepdims=True)
        print(step, loss)

Use instead (samples first)
---------------------------
Biases at 0::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 6))
    Y = np.eye(3)[(X @ rng.normal(size=(6, 3))).argmax(axis=1)]
    W1, b1 = rng.normal(size=(6, 5)) / np.sqrt(6), np.zeros((1, 5))
    W2, b2 = rng.normal(size=(5, 3)) / np.sqrt(5), np.zeros((1, 3))
    for step in range(15):
        Z1 = X @ W1 + b1
        A1 = np.maximum(0, Z1)
        Z2 = A1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.mean(np.sum(Y * np.log(A2 + 1e-12), axis=1))
        dZ2 = (A2 - Y) / len(X)
        dZ1 = (dZ2 @ W2.T) * (Z1 > 0)
        W2 = W2 - 0.5 * A1.T @ dZ2
        b2 = b2 - 0.5 * dZ2.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * X.T @ dZ1
        b1 = b1 - 0.5 * dZ1.sum(axis=0, keepdims=True)
        print(step, loss)

How it is detected
------------------
In the first step, and after 20, the units that have the same flat value for
all samples are counted. More than half of a layer is reported; after 20 steps
only if steps a tenth as long leave fewer of them off.

Fix safety
----------
No edit is made: rate, weights and biases are the author's to choose.

Known limits
------------
- It is a warning. Half of the activations of a ReLU layer are 0, which is no
  fault: only units that are off for every sample are counted.
- At least eight samples a step are needed.

References
----------
- Glorot, Bordes and Bengio (2011), Deep sparse rectifier neural networks,
  AISTATS.
- Maas, Hannun and Ng (2013), Rectifier nonlinearities improve neural network
  acoustic models, ICML.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.descent import descend_trace
from backprop_doctor.oracles.units import Layer, hidden_layers, units_of
from backprop_doctor.program import Trace
from backprop_doctor.records import Evidence

SEVERITY = "warning"

SAMPLES = 8
SHARE = 0.5
TURNS = 20


def examine(case: Case) -> Iterator[Sighting]:
    """Units with a corner in their activation that are off for every sample, at the start or after some steps."""
    layers = [layer for layer in hidden_layers(case) if layer.has_corner]
    at_start = [(layer, dead) for layer in layers if (dead := _dead(case, layer, case.trace, 0)) is not None]
    for layer, dead in at_start:
        if np.mean(dead) > SHARE:
            yield _sighting(case, layer, dead, "before the first step", ())
            return
    if not at_start or not case.is_right:
        return
    keys = frozenset(_key(case, layer, TURNS - 1) for layer, _ in at_start)
    trace = case.run({}, keep=keys, limit=case.step_limit(TURNS))
    for layer, _ in at_start:
        dead = _dead(case, layer, trace, TURNS - 1)
        if dead is None or np.mean(dead) <= SHARE:
            continue
        slower = descend_trace(case, TURNS, 0.1, keys)
        fewer = None if slower is None else _dead(case, layer, slower, TURNS - 1)
        if fewer is not None and np.mean(fewer) <= SHARE:
            other = Evidence("the same with steps a tenth as long", f"{fewer.sum()} of {fewer.size}", "few")
            yield _sighting(case, layer, dead, f"after {TURNS} steps", (other,))
            return


def _key(case: Case, layer: Layer, turn: int) -> tuple[int, int]:
    site, first = layer.activation.birth
    return site, first + turn * case.per_turn(layer.activation.birth)


def _dead(case: Case, layer: Layer, trace: Trace, turn: int) -> NDArray[np.bool_] | None:
    """For each unit whether its activation is the same flat value for all samples; None where that is unknown."""
    value = trace.value(_key(case, layer, turn))
    array = None if value is None else units_of(case, value)
    if array is None or array.shape[0] < SAMPLES or array.shape[1] < 2 or not np.all(np.isfinite(array)):
        return None
    constant = np.ptp(array, axis=0) == 0
    flat = float(layer.activations.min())
    off: NDArray[np.bool_] = constant & (array[0] == flat)
    return off


def _sighting(case: Case, layer: Layer, dead: NDArray[np.bool_], when: str, more: tuple[Evidence, ...]) -> Sighting:
    return Sighting(
        node=case.home(layer.activation),
        message=f"{dead.sum()} of the {dead.size} units of {layer.activation.name} are off for every sample {when}",
        label="units that are always off",
        why="where the activation is flat the slope is 0: such a unit gets no gradient and stays as it is",
        evidence=(Evidence(f"units off for all samples {when}", f"{dead.sum()} of {dead.size}", "few"), *more),
        fix="a smaller rate, weights around 0 and biases at 0, or a leaky ReLU",
    )
