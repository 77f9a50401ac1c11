"""BD806 non-differentiable-activation: a step function is trained with a rule for gradients.

What it does
------------
Warns of hidden units that are steps, with weights below them that are trained
as if the steps had a slope.

Why it is wrong
---------------
The derivative of a step, as np.sign or np.round or z > 0, is 0 wherever it
exists. By the chain rule the loss has no slope in any weight below:

    dL/dW1 = X.T @ (dA1 * 0) = 0

What the program uses instead is the gradient of no function, and steps along
it may raise the loss as well as lower it.

Example (samples first)
-----------------------
A step in the forward pass, a slope of 1 in the backward pass::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 6))
    Y = np.eye(3)[(X @ rng.normal(size=(6, 3))).argmax(axis=1)]
    W1, b1 = rng.normal(size=(6, 5)) / np.sqrt(6), np.zeros((1, 5))
    W2, b2 = rng.normal(size=(5, 3)) / np.sqrt(5), np.zeros((1, 3))
    for step in range(15):
        A1 = np.where(X @ W1 + b1 > 0, 1.0, 0.0)
        Z2 = A1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.mean(np.sum(Y * np.log(A2 + 1e-12), axis=1))
        dZ2 = (A2 - Y) / len(X)
        dZ1 = dZ2 @ W2.T
        W2 = W2 - 0.5 * A1.T @ dZ2
        b2 = b2 - 0.5 * dZ2.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * X.T @ dZ1
        b1 = b1 - 0.5 * dZ1.sum(axis=0, keepdims=True)
        print(step, loss)

Use instead (samples first)
---------------------------
A function with a slope, and its derivative::

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
A value of two or three levels that is a growing function of one with many is
put to the test: its argument is moved by a millionth of its size. If the
output stays bit for bit as it is, and a weight matrix that is read before has
changed when it is read in the next step, the line is reported.

Fix safety
----------
No edit is made: which activation is meant is known to the author.

Known limits
------------
- A step in the output layer, trained by the rule of the perceptron, is
  another method, and is not looked at.
- Networks that train steps on purpose with a substitute slope
  (straight-through estimators) are reported as well: the claim is true of
  them.

References
----------
- Bengio, Leonard and Courville (2013), Estimating or propagating gradients
  through stochastic neurons for conditional computation, arXiv:1308.3432.
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  6.3: hidden units.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.program import Event
from backprop_doctor.records import Evidence
from backprop_doctor.values import is_same

SEVERITY = "warning"

LEVELS = 3
NUDGE = 1e-6


def examine(case: Case) -> Iterator[Sighting]:
    """A value of few levels that hides small changes of its argument from the output, and weights trained below."""
    output = case.roles.output
    if output is None:
        return
    first = {e.object: e for e in reversed(case.step_events) if e.index <= output.index and _is_float(e)}
    events = sorted(first.values(), key=lambda e: e.index)
    for step in events:
        argument = _argument(step, events)
        # A dropout mask is a step of random numbers, on which no weight has any say.
        below = argument is not None and case.roles.on_parameters[argument.index]
        weights = _trained_below(case, argument) if argument is not None and below else None
        if argument is None or weights is None or not _hides(case, argument, output.birth):
            continue
        before, after = weights
        site = case.program.sites[step.site]
        name, levels = case.text(site.node), np.unique(step.value).size
        if site.target:
            name = site.target
        moved = float(np.abs(np.asarray(after.value) - before.value).max())
        trained = case.text(case.program.sites[before.site].node)
        yield Sighting(
            node=site.node,
            message=f"{name} takes {levels} values only, so the loss has no slope in {trained}, which is trained all "
            "the same",
            label="a step has no derivative",
            why="the derivative of a step is 0 wherever it exists: no chain rule leads through it",
            evidence=(
                Evidence(
                    f"change of the output when {_name(case, argument)} moves by {NUDGE:g} of its size", "0", "not 0"
                ),
                Evidence(f"largest change of {trained} in one step of training", f"{moved:.3g}", "0"),
            ),
            fix="a sigmoid, tanh or ReLU, with its derivative in the backward pass",
        )
        return


def _is_float(event: Event) -> bool:
    return isinstance(event.value, np.ndarray) and event.value.size > 4 * LEVELS and event.value.dtype.kind != "b"


def _name(case: Case, event: Event) -> str:
    site = case.program.sites[event.site]
    return site.target or case.text(site.node)


def _argument(step: Event, events: list[Event]) -> Event | None:
    """The value of many levels and the same shape of which ``step`` is a function that never falls."""
    if not 2 <= np.unique(step.value).size <= LEVELS:
        return None
    for event in events:
        if event.index >= step.index or np.shape(event.value) != np.shape(step.value):
            continue
        before = np.asarray(event.value, np.float64)
        rising = np.diff(np.asarray(step.value, np.float64).ravel()[np.argsort(before, axis=None, kind="stable")])
        if np.unique(before).size > before.size // 2 and rising.min() >= 0:
            return event
    return None


def _hides(case: Case, argument: Event, output: tuple[int, int]) -> bool:
    """Whether a small change of the argument leaves the output bit for bit as it is."""

    def nudge(value: np.ndarray) -> np.ndarray:
        waves = np.cos(np.arange(value.size)).reshape(value.shape)
        return value + NUDGE * (float(np.abs(value).max()) or 1.0) * waves

    trace = case.run({argument.key: nudge}, last=case.roles.step.middle - 1)
    before, after = case.trace.value(output), trace.value(output)
    return before is not None and after is not None and is_same(before, after)


def _trained_below(case: Case, argument: Event) -> tuple[Event, Event] | None:
    """A weight matrix read before the argument that has changed when it is read again in the next step."""
    for event in case.step_events:
        site = case.program.sites[event.site]
        if event.index >= argument.index:
            return None
        if site.kind != "load" or np.ndim(event.value) != 2 or np.asarray(event.value).dtype.kind != "f":
            continue
        later = case.trace.by_key.get((event.site, event.occurrence + case.per_turn(event.key)))
        independent = not case.roles.on_inputs[event.index] and not case.roles.on_labels[event.index]
        if later is None or not independent or np.shape(later.value) != np.shape(event.value):
            continue
        if not is_same(later.value, event.value):
            return event, later
    return None
