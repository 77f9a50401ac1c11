"""BD203 regulariser-mismatch: the loss has a penalty for a parameter that its step knows nothing of, or another one.

What it does
------------
Finds a penalty on the size of a parameter that is part of the loss and not
of the step, or that differs between the parameters.

Why it is wrong
---------------
With a penalty, the loss is L + lam / 2 * sum(W**2), and its gradient is

    dL/dW + lam * W               both of the shape of W

A term that is in the loss alone is counted and never acted on: the number
shown is not the one that is made small, and what is called a regularised
network is none. If the same penalty is in the step of one weight and not in
that of another, the step is the gradient of no loss at all.

Example (samples first)
-----------------------
W1 and W2 are penalised, and only the step of W2 knows::

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
        loss = loss + 0.005 * (np.sum(W1**2) + np.sum(W2**2))
        dZ2 = (A2 - Y) / len(X)
        dW2 = A1.T @ dZ2 + 0.01 * W2
        db2 = dZ2.sum(axis=0, keepdims=True)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2)
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
        loss = loss + 0.005 * (np.sum(W1**2) + np.sum(W2**2))
        dZ2 = (A2 - Y) / X.shape[1]
        dW2 = dZ2 @ A1.T + 0.01 * W2
        db2 = dZ2.sum(axis=1, keepdims=True)
        dZ1 = (W2.T @ dZ2) * (1 - A1**2)
        dW1 = dZ1 @ X.T
        db1 = dZ1.sum(axis=1, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

Use instead (samples first)
---------------------------
The penalty is in both gradients::

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
        loss = loss + 0.005 * (np.sum(W1**2) + np.sum(W2**2))
        dZ2 = (A2 - Y) / len(X)
        dW2 = A1.T @ dZ2 + 0.01 * W2
        db2 = dZ2.sum(axis=0, keepdims=True)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2)
        dW1 = X.T @ dZ1 + 0.01 * W1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

Use instead (features first)
----------------------------
The penalty is in both gradients::

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
        loss = loss + 0.005 * (np.sum(W1**2) + np.sum(W2**2))
        dZ2 = (A2 - Y) / X.shape[1]
        dW2 = dZ2 @ A1.T + 0.01 * W2
        db2 = dZ2.sum(axis=1, keepdims=True)
        dZ1 = (W2.T @ dZ2) * (1 - A1**2)
        dW1 = dZ1 @ X.T + 0.01 * W1
        db1 = dZ1.sum(axis=1, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

How it is detected
------------------
The derivative of the declared loss is measured along seven directions for
each parameter, and taken apart into a multiple of its step in a run and a
multiple of the parameter itself (rest below 1e-5). A multiple of the
parameter that is left over is a mismatch. How much of a penalty is in the
step is found in the same way, from the gradient without it. It is an error
where the loss penalises a parameter and the step does not at all; where the
two differ by one constant factor for all parameters, a note.

Fix safety
----------
No edit is proposed: to take the penalty into the gradient, or out of the
loss, is a choice.

Known limits
------------
- Weight decay that is in the step alone, and not in the loss, is usual and
  not reported.
- Penalties that are proportional to the parameter; those on absolute values
  are not taken apart.
- The first step has to be proportional to the gradient, as with plain
  descent and momentum.

References
----------
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  7.1.1: L2 parameter regularization.
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  5.5.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.case import Case, Sighting
from backprop_doctor.gradients import aligned
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.roles import Parameter

SEVERITY = "error"
RIGHT_BELOW = 1e-5
MORE = 4
CANCELLED = 1e-4
Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Share:
    """Penalty of one parameter: ``loss`` and ``step`` are the multiples of the parameter in the two gradients."""

    parameter: Parameter
    loss: float
    step: float

    @property
    def differs(self) -> bool:
        return abs(self.loss - self.step) > 1e-4 * max(abs(self.loss), abs(self.step))


def examine(case: Case) -> Iterator[Sighting]:
    """Take the derivative of the loss apart into the step and the parameter itself."""
    declared = case.judgement.declared
    if declared is None:
        return
    shares = [_share(case, p) for p in case.roles.parameters if sum(n > 1 for n in p.shape) > 0]
    known = [s for s in shares if s is not None]
    odd = [s for s in known if s.differs and s.loss > 0]
    if not odd:
        return
    missing = [s for s in odd if s.step == 0]
    for share in missing:
        p = share.parameter
        others = ", ".join(s.parameter.name for s in known if s.step > 0)
        yield Sighting(
            node=case.site(p.updates[-1]).statement,
            message=f"{declared.name} penalises the size of {p.name}, and the step of {p.name} does not"
            + (f", though that of {others} does" if others else ""),
            label=f"no penalty on {p.name} here",
            why=f"the penalty c * sum({p.name}**2) has the gradient 2 c {p.name}",
            evidence=(
                Evidence(f"multiple of {p.name} in the gradient", "0", f"{share.loss:.3g} as in {declared.name}"),
            ),
            fix=f"add {share.loss:.3g} * {p.name} to the gradient of {p.name}",
            edits=_penalised(case, share),
            objects=(p.successor,),
        )
    ratios = [s.step / s.loss for s in odd if s.step]
    if ratios and not missing:
        yield Sighting(
            node=case.home(declared),
            message=f"the penalty in the step is {ratios[0]:.3g} times the one in {declared.name}",
            label=f"{ratios[0]:.3g} times this in the step",
            severity="note" if max(ratios) - min(ratios) < 1e-3 * abs(ratios[0]) else "error",
            evidence=(Evidence("penalty in the step over penalty in the loss", f"{ratios[0]:.3g}", "1"),),
        )


def _penalised(case: Case, share: _Share) -> tuple[Edit, ...]:
    """The penalty beside the gradient that the update reads, times what that is of the derivative."""
    parameter = share.parameter
    gradient = case.gradient(parameter)
    factor = case.total_factor(gradient) if gradient is not None else None
    update = case.site(parameter.updates[-1]).statement
    read = [e for e in case.events_in(update) if gradient is not None and e.object == gradient.value.object]
    nodes = [case.program.sites[e.site].node for e in read if case.program.sites[e.site].kind == "load"]
    if factor is None or len(nodes) != 1:
        return ()
    return (case.edit(nodes[0], f"({case.text(nodes[0])} + {share.loss * abs(factor):.6g} * {parameter.name})"),)


def _share(case: Case, parameter: Parameter) -> _Share | None:
    """The penalties of one parameter; None where its step cannot be taken apart."""
    declared, gradient = case.judgement.declared, case.gradient(parameter)
    after, before = case.live.value(parameter.updates[-1]), case.live.value(parameter.birth)
    plain = aligned(case.live.value(gradient.value.birth), parameter.shape) if gradient and gradient.right else None
    if declared is None or plain is None or after is None or np.shape(after) != np.shape(before):
        return None
    own, step = np.asarray(before, np.float64), np.asarray(before, np.float64) - after
    key = parameter.birth
    directions = list(case.measurement.tangents(key))
    found = _apart(step, own, directions, declared.birth)
    if found is None or (len(directions) > 2 and found[2] > RIGHT_BELOW):
        return None
    if abs(found[1]) * np.linalg.norm(own) > RIGHT_BELOW * abs(found[0]) * np.linalg.norm(step):
        generator = np.random.default_rng(23)
        directions += [case.measurement.along(key, generator.standard_normal(parameter.shape)) for _ in range(MORE)]
        found = _apart(step, own, directions, declared.birth)
        if found is None or found[2] > RIGHT_BELOW:
            return None
    scale, left, _ = found
    # What of the step is no multiple of the gradient without a penalty is a multiple of the parameter.
    both = np.stack([plain.ravel(), own.ravel()], axis=1)
    (_, inside), *_ = np.linalg.lstsq(both, step.ravel(), rcond=None)
    inside *= scale
    small = RIGHT_BELOW * abs(scale) * float(np.linalg.norm(step) / np.linalg.norm(own))
    inside, left = (0.0 if abs(x) <= small else float(x) for x in (inside, left))
    # A penalty in the step alone leaves nothing in the loss but the error of the two that cancel.
    loss = inside + left if abs(inside + left) > CANCELLED * abs(inside) else 0.0
    return _Share(parameter, loss, inside)


def _apart(step: Array, own: Array, tangents: list, birth: tuple[int, int]) -> tuple[float, float, float] | None:  # type: ignore[type-arg]
    """Multiples of the step and of the parameter that make the derivative, and the relative rest."""
    if any(birth not in t.derivatives for t in tangents) or len(tangents) < 3:
        return None
    numeric = np.array([float(np.sum(t.derivatives[birth])) for t in tangents])
    columns = np.array([[np.sum(step * t.direction), np.sum(own * t.direction)] for t in tangents])
    if not np.all(np.isfinite(columns)) or not np.all(np.isfinite(numeric)) or not np.any(numeric):
        return None
    (scale, left), *_ = np.linalg.lstsq(columns, numeric, rcond=None)
    rest = np.linalg.norm(numeric - columns @ (scale, left)) / np.linalg.norm(numeric)
    return float(scale), float(left), float(rest)
