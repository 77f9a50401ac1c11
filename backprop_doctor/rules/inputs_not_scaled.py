"""BD601 inputs-not-scaled: inputs so large that units saturate or the loss climbs.

What it does
------------
Warns of inputs so large that hidden units saturate, or that the loss climbs,
where the same program with smaller inputs does neither.

Why it is wrong
---------------
With D inputs of size s and weights of size w a unit receives a sum of size s
* w * sqrt(D). For pixels up to 255 that is hundreds, and sigmoid and tanh are
flat there: their slope, and with it every gradient below, is 0.

Without saturation the curvature of the loss grows with s squared, and so the
largest rate that does not diverge shrinks by s squared.

Example (samples first)
-----------------------
The area in square feet goes in as it is::

    import numpy as np

    rng = np.random.default_rng(0)
    area = rng.uniform(500, 2500, size=(80, 1))
    price = 0.002 * area + 0.1 * rng.normal(size=(80, 1))
    X = area
    w, b = np.zeros((1, 1)), np.zeros((1, 1))
    for step in range(20):
        error = X @ w + b - price
        w = w - 0.1 * X.T @ error / len(X)
        b = b - 0.1 * error.mean(axis=0, keepdims=True)
        print(step, "mean squared error", np.mean(error**2))

Use instead (samples first)
---------------------------
Mean 0 and spread 1::

    import numpy as np

    rng = np.random.default_rng(0)
    area = rng.uniform(500, 2500, size=(80, 1))
    price = 0.002 * area + 0.1 * rng.normal(size=(80, 1))
    X = (area - area.mean()) / area.std()
    w, b = np.zeros((1, 1)), np.zeros((1, 1))
    for step in range(20):
        error = X @ w + b - price
        w = w - 0.1 * X.T @ error / len(X)
        b = b - 0.1 * error.mean(axis=0, keepdims=True)
        print(step, "mean squared error", np.mean(error**2))

How it is detected
------------------
If an input is above 10 in size, the first step is run again with inputs
divided by the largest. A share of saturated activations above one half, or a
first loss above three times ln C, that is gone with smaller inputs is
reported. So is a loss that climbs in 20 steps and falls in the same steps
with smaller inputs, if all gradients are right.

Fix safety
----------
No edit is made: training and test inputs have to be scaled by the same
numbers, and where both come from is known to the author.

Known limits
------------
- It is a warning. Programs with large inputs and weights or rates small
  enough for them are right, and silent.
- What is tried is division by the largest entry; features of very different
  size may need a mean and a spread each.

References
----------
- LeCun, Bottou, Orr and Mueller (1998), Efficient BackProp, in Neural
  Networks: Tricks of the Trade, Springer, section 4.3: normalizing the
  inputs.
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  8.7.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.descent import descend, initial_cross_entropy
from backprop_doctor.oracles.units import hidden_layers
from backprop_doctor.records import Evidence

SEVERITY = "warning"
ABOUT_DATA = True

LARGE = 10.0
FLAT_SHARE = 0.5
ABOVE_CHANCE = 3.0
TURNS = 20


def examine(case: Case) -> Iterator[Sighting]:
    """Large inputs that saturate units or stop the descent, and do neither when they are scaled."""
    inputs = case.roles.inputs[0]
    batch = case.trace.value(case.roles.batch.birth)
    largest = float(np.abs(np.asarray(batch, np.float64)).max(initial=0)) if batch is not None else 0.0
    if not np.isfinite(largest) or largest <= LARGE:
        return
    evidence = _at_the_start(case, largest) or _in_training(case, largest)
    if evidence is None:
        return
    harm, numbers = evidence
    low = float(np.min(batch))
    bytes_ = low >= 0 and largest in (255.0, 254.0, 253.0) and np.array_equal(batch, np.round(batch))
    yield Sighting(
        node=case.home(inputs),
        message=f"the inputs {case.roles.batch.name} reach up to {largest:.4g}: {harm}",
        label="not scaled",
        why="large inputs make large sums: units saturate, and one step fits no learning rate",
        evidence=numbers,
        fix="divide the pixels by 255.0"
        if bytes_
        else "give each feature mean 0 and spread 1, or divide by the largest",
    )


def _scaled(case: Case, largest: float) -> dict[Any, Any]:
    return {case.roles.inputs[0].birth: lambda v: np.asarray(v, np.float64) / largest}


def _at_the_start(case: Case, largest: float) -> tuple[str, tuple[Evidence, ...]] | None:
    layer = next((n for n in hidden_layers(case) if not n.has_corner and n.flat > FLAT_SHARE), None)
    loss = initial_cross_entropy(case, case.trace)
    high = loss is not None and loss[0] > ABOVE_CHANCE * loss[1]
    if layer is None and not high:
        return None
    trace = case.run(_scaled(case, largest), limit=case.roles.step.middle)
    if layer is not None:
        after = next((n for n in hidden_layers(case, trace) if n.argument.object == layer.argument.object), None)
        if after is None or after.flat < FLAT_SHARE:
            share = 0.0 if after is None else after.flat
            return f"{layer.flat:.0%} of the activations {layer.activation.name} are saturated at the start", (
                Evidence(
                    "activations with less than 1 % of the largest slope",
                    f"{layer.flat:.0%}",
                    f"below {FLAT_SHARE:.0%}",
                ),
                Evidence(f"the same with inputs divided by {largest:.4g}", f"{share:.0%}", f"below {FLAT_SHARE:.0%}"),
            )
    again = initial_cross_entropy(case, trace)
    if high and loss and again and again[0] < ABOVE_CHANCE * again[1]:
        return f"the first loss is {loss[0]:.3g}, guessing gives {loss[1]:.3g}", (
            Evidence("mean cross-entropy before the first step", f"{loss[0]:.3g}", f"about {loss[1]:.3g}"),
            Evidence(f"the same with inputs divided by {largest:.4g}", f"{again[0]:.3g}", f"about {loss[1]:.3g}"),
        )
    return None


def _in_training(case: Case, largest: float) -> tuple[str, tuple[Evidence, ...]] | None:
    if not case.is_right:
        return None
    plain = descend(case, TURNS)
    if plain is None or not plain.climbed:
        return None
    scaled = descend(case, TURNS, actions=_scaled(case, largest))
    if scaled is None or not scaled.fell or scaled.climbed:
        return None
    return f"the loss does not fall in {TURNS} steps", (
        Evidence(f"{plain.formula} before and after {TURNS} steps", f"{plain.first:.3g}, {plain.last:.3g}", "falling"),
        Evidence(f"the same with inputs divided by {largest:.4g}", f"{scaled.first:.3g}, {scaled.last:.3g}", "falling"),
    )
