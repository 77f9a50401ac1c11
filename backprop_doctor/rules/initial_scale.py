"""BD802 initial-scale: the initial weights are too large or too small for the layers they feed.

What it does
------------
Warns of initial weights that saturate hidden units, or make the untrained
network sure of wrong answers, or let hardly any gradient through.

Why it is wrong
---------------
A unit with D inputs of size 1 and weights of size w receives a sum of size w
* sqrt(D). With w = 1 and D = 784 that is 28, where tanh and sigmoid are flat
and their slope is 0. With w = 0.01 and four layers signal and gradient are
multiplied by 0.01 * sqrt(H) in each. Weights of size sqrt(1 / D), or sqrt(2 /
D) before a ReLU, keep the size of both.

Example (samples first)
-----------------------
Weights of size 6 for 6 inputs::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 6))
    Y = np.eye(3)[(X @ rng.normal(size=(6, 3))).argmax(axis=1)]
    W1, b1 = 6 * rng.normal(size=(6, 5)), np.zeros((1, 5))
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

Use instead (samples first)
---------------------------
Weights of size sqrt(1/6)::

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
At the program's own weights the slope of each activation is read off the
recorded values. More than half of them below 1 % of the largest, or a first
loss above three times ln C, is reported, if it is gone when all matrices are
brought to size 1/sqrt(inputs). A first layer whose gradient is a thousand
times smaller than with such weights is reported as well.

Fix safety
----------
No edit is made: there are many good choices, and a test of one program cannot
tell which is meant.

Known limits
------------
- It is a warning: such networks may still learn, slowly.
- If the inputs are above 10 in size, that is BD601.
- Saturated output units are not looked at.

References
----------
- Glorot and Bengio (2010), Understanding the difficulty of training deep
  feedforward neural networks, AISTATS.
- He, Zhang, Ren and Sun (2015), Delving deep into rectifiers, ICCV.
- LeCun, Bottou, Orr and Mueller (1998), Efficient BackProp, in Neural
  Networks: Tricks of the Trade, Springer, section 4.6.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.descent import initial_cross_entropy
from backprop_doctor.oracles.units import Layer, hidden_layers, inputs_of, spread
from backprop_doctor.records import Evidence
from backprop_doctor.roles import Parameter

SEVERITY = "warning"

LARGE_INPUT = 10.0
FLAT_SHARE = 0.5
ABOVE_CHANCE = 3.0
VANISHED = 1e3
SMALL = 0.5  # of 1/sqrt(inputs)


def examine(case: Case) -> Iterator[Sighting]:
    """Saturated units, a first loss above chance, a gradient that does not arrive; none of it when rescaled."""
    matrices = [p for p in case.roles.parameters if sum(n > 1 for n in p.shape) == 2]
    batch = case.trace.value(case.roles.batch.birth)
    if not matrices or batch is None or np.abs(np.asarray(batch, np.float64)).max(initial=0) > LARGE_INPUT:
        return
    yield from list(_too_large(case, matrices) or _too_small(case, matrices))


def _too_large(case: Case, matrices: list[Parameter]) -> list[Sighting]:
    layers = hidden_layers(case)
    worst = next((layer for layer in layers if not layer.has_corner and layer.flat > FLAT_SHARE), None)
    loss = initial_cross_entropy(case, case.trace)
    high = loss is not None and loss[0] > ABOVE_CHANCE * loss[1]
    if worst is None and not high:
        return []
    trace = case.run(
        {p.birth: lambda v, p=p: _rescaled(case, p, v) for p in matrices},  # type: ignore[misc]
        limit=case.roles.step.middle,
    )
    if worst is not None:
        after = next((n for n in hidden_layers(case, trace) if n.argument.object == worst.argument.object), None)
        if after is not None and after.flat < FLAT_SHARE:
            return [_saturated(case, worst, after, _feeding(matrices, case, worst))]
    again = initial_cross_entropy(case, trace)
    if high and loss and again and again[0] < ABOVE_CHANCE * again[1]:
        return [_above_chance(case, loss, again, max(matrices, key=lambda p: _gain(case, p)))]
    return []


def _saturated(case: Case, layer: Layer, after: Layer, parameter: Parameter) -> Sighting:
    fan_in = inputs_of(case, parameter)
    return Sighting(
        node=case.home(parameter),
        message=f"the initial weights {parameter.name} are too large: {layer.flat:.0%} of the activations "
        f"{layer.activation.name} are saturated before the first step",
        label="saturates the units",
        why=f"a sum of {fan_in} inputs has a spread of {spread(layer.arguments):.3g}; where the activation is flat "
        "the gradient is nearly 0",
        evidence=(
            Evidence(
                "activations with less than 1 % of the largest slope", f"{layer.flat:.0%}", f"below {FLAT_SHARE:.0%}"
            ),
            Evidence(f"the same with weights of size 1/sqrt({fan_in})", f"{after.flat:.0%}", f"below {FLAT_SHARE:.0%}"),
        ),
        fix=f"weights of mean 0 and size sqrt(1/{fan_in}), or sqrt(2/{fan_in}) before a ReLU",
    )


def _above_chance(case: Case, loss: tuple[float, float], again: tuple[float, float], parameter: Parameter) -> Sighting:
    fan_in = inputs_of(case, parameter)
    return Sighting(
        node=case.home(parameter),
        message=f"the initial weights {parameter.name} are too large: the first loss is {loss[0]:.3g}, guessing "
        f"gives {loss[1]:.3g}",
        label="certain, and wrong, before the first step",
        why="large weights make large logits: the untrained network is sure of wrong answers",
        evidence=(
            Evidence("mean cross-entropy before the first step", f"{loss[0]:.3g}", f"about {loss[1]:.3g}"),
            Evidence("the same with weights of size 1/sqrt(inputs)", f"{again[0]:.3g}", f"about {loss[1]:.3g}"),
        ),
        fix=f"weights of mean 0 and size sqrt(1/{fan_in}), or sqrt(2/{fan_in}) before a ReLU",
    )


def _too_small(case: Case, matrices: list[Parameter]) -> list[Sighting]:
    """The first layer's gradient against the one it has with weights of size 1/sqrt(inputs)."""
    first = matrices[0]
    gradient = case.gradient(first)
    if len(matrices) < 2 or gradient is None or not gradient.right:
        return []
    here, there = case.trace.value(gradient.value.birth), case.value(gradient.value)
    weights = [spread(case.trace.value(p.birth)) for p in matrices]
    small = min(matrices, key=lambda p: _gain(case, p))
    # A gradient of exactly 0 is that of dead units or of an input of zeros, and fades nowhere.
    if here is None or there is None or not np.any(here) or min(weights) == 0 or _gain(case, small) > SMALL:
        return []
    ratio = spread(there) / spread(here)
    if not np.isfinite(ratio) or ratio < VANISHED:
        return []
    fan_in = inputs_of(case, small)
    return [
        Sighting(
            node=case.home(small),
            message=f"the initial weights are too small for {len(matrices)} layers: hardly any gradient arrives at "
            f"{first.name}",
            label="the signal fades from layer to layer",
            why="each layer multiplies signal and gradient by the size of its weights and the slope of its activation",
            evidence=(
                Evidence(
                    f"gradient of {first.name}, against the one at weights of size 1/sqrt(inputs)",
                    f"{1 / ratio:.2g}",
                    f"above {1 / VANISHED:g}",
                ),
            ),
            fix=f"weights of mean 0 and size sqrt(1/{fan_in}), or sqrt(2/{fan_in}) before a ReLU",
        )
    ]


def _gain(case: Case, parameter: Parameter) -> float:
    """Size of a matrix's weights against 1/sqrt(inputs)."""
    value = case.trace.value(parameter.birth)
    return spread(value) * float(np.sqrt(inputs_of(case, parameter))) if value is not None else 0.0


def _rescaled(case: Case, parameter: Parameter, value: object) -> object:
    array = np.asarray(value, np.float64)
    centred = array - array.mean()
    size = spread(centred) or 1.0
    return centred / size / np.sqrt(inputs_of(case, parameter))


def _feeding(matrices: list[Parameter], case: Case, layer: Layer) -> Parameter:
    """The matrix read last before the layer's argument is computed."""
    known = {p.object: p for p in matrices}
    reads = [e for e in case.step_events if e.object in known and e.index <= layer.argument.index]
    return known[reads[-1].object] if reads else matrices[0]
