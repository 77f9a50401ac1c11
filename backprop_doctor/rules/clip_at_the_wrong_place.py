"""BD705 clip-at-the-wrong-place: scores are clipped before they are normalised.

What it does
------------
Warns of scores that are limited before a softmax divides by their sum, where
the limits bind.

Why it is wrong
---------------
Softmax takes scores of any size. What is cut before the division is lost: two
classes above the limit become equal, and the slope there is 0, while the
backward pass takes A - Y, which knows nothing of the limit. The reason to
clip is the logarithm of a probability of 0, and that is read after the
division.

Example (samples first)
-----------------------
Exponentials above 1 become 1::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 6))
    Y = np.eye(3)[(X @ rng.normal(size=(6, 3))).argmax(axis=1)]
    W1, b1 = rng.normal(size=(6, 5)) / np.sqrt(6), np.zeros((1, 5))
    W2, b2 = rng.normal(size=(5, 3)) / np.sqrt(5), np.zeros((1, 3))
    for step in range(15):
        A1 = np.tanh(X @ W1 + b1)
        Z2 = A1 @ W2 + b2
        E = np.clip(np.exp(Z2), 1e-7, 1.0)
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
The probability is clipped where the logarithm reads it::

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
        loss = -np.mean(np.sum(Y * np.log(np.clip(A2, 1e-12, 1.0)), axis=1))
        dZ2 = (A2 - Y) / len(X)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2)
        W2 = W2 - 0.5 * A1.T @ dZ2
        b2 = b2 - 0.5 * dZ2.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * X.T @ dZ1
        b1 = b1 - 0.5 * dZ1.sum(axis=0, keepdims=True)
        print(step, loss)

How it is detected
------------------
Calls between the logits and the output whose result is their argument held
between two numbers are found by their values. If more than 5 % of the entries
are changed, the program is run with the argument in place of the result: if a
probability changes by more than 0.01, the call is reported.

Fix safety
----------
No edit is made: the clip belongs into the logarithm, and which one is meant
is known to the author.

Known limits
------------
- Wide limits, as -500 and 500, change nothing, and are silent.
- The wrong gradient that may follow is judged by the rules on gradients.

References
----------
- Blanchard, Higham and Higham (2021), Accurately computing the log-sum-exp
  and softmax functions, IMA Journal of Numerical Analysis 41.
- NumPy reference, numpy.clip:
  https://numpy.org/doc/stable/reference/generated/numpy.clip.html
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.normalisation import normalised_over
from backprop_doctor.program import Event
from backprop_doctor.records import Evidence

SEVERITY = "warning"

SHARE = 0.05


def examine(case: Case) -> Iterator[Sighting]:
    """Scores that are limited on their way to the softmax's division, and probabilities that change for it."""
    output, axis = case.roles.output, case.axes.output_samples
    if output is None or axis is None or normalised_over(case) != "classes":
        return
    for event in case.step_events:
        site = case.program.sites[event.site]
        if event.index >= output.index or not case.roles.forward(event) or not isinstance(site.node, ast.Call):
            continue
        if np.shape(event.value) != output.shape:
            continue
        operand = next((o for o in case.children(event) if _is_limited(o, event)), None)
        if operand is None:
            continue
        before, after = np.asarray(operand.value, np.float64), np.asarray(event.value, np.float64)
        changed = float(np.mean(before != after))
        trace = case.run({event.key: lambda v, b=before: b.copy()}, limit=case.roles.step.middle)  # type: ignore[misc]
        free, limited = trace.value(output.birth), case.trace.value(output.birth)
        if changed < SHARE or free is None or np.shape(free) != np.shape(limited) or not np.all(np.isfinite(free)):
            continue
        difference = float(np.abs(np.asarray(free) - limited).max())
        ties = int(np.sum(np.argmax(free, axis=1 - axis) != np.argmax(limited, axis=1 - axis)))
        if difference < 0.01:
            continue
        yield Sighting(
            node=site.node,
            message=f"{case.text(site.node)} limits scores before they are normalised: {changed:.0%} are cut, and "
            f"probabilities change by up to {difference:.2g}",
            label="clips before the division",
            why="entries may be of any size before the division; what is cut there is lost, and the gradient A - Y "
            "knows nothing of it",
            evidence=(
                Evidence("scores that the clip changes", f"{changed:.0%}", "0%"),
                Evidence("largest change of a probability", f"{difference:.2g}", "0"),
                Evidence("samples whose predicted class changes", f"{ties} of {case.samples}", "0"),
            ),
            fix="clip the probabilities, where the logarithm reads them: np.log(np.clip(p, 1e-12, 1))",
        )
        return


def _is_limited(operand: Event, result: Event) -> bool:
    """Whether a result is its operand, held between two numbers."""
    before, after = np.asarray(operand.value), np.asarray(result.value)
    if before.shape != after.shape or after.size < 4 or not np.all(np.isfinite(before)):
        return False
    held = before != after
    if not held.any() or held.all():
        return False
    bounds = np.unique(after[held])
    clipped = np.clip(before, after.min(), after.max())
    return bounds.size <= 2 and np.array_equal(clipped, after) and not (bounds.size == 1 and bounds[0] == 0)
