"""BD304 activation-derivative-missing: a delta skips the derivative of its layer's activation.

What it does
------------
Finds a delta that goes back through a layer's weights and leaves out the
derivative of that layer's activation.

Why it is wrong
---------------
N samples, H hidden units, C classes. The forward pass is Z1 -> A1 = act(Z1)
-> Z2 = A1 @ W2 + b2, and the chain rule has one factor for each arrow:

    dA1 = dZ2 @ W2.T              (N, C) @ (C, H) = (N, H)
    dZ1 = dA1 * act'(Z1)          (N, H), element by element

For tanh the factor is 1 - A1**2, for the sigmoid A1 * (1 - A1), for ReLU it
is Z1 > 0. Without it dZ1 is the gradient of A1, and everything below the
layer receives gradients that are wrong in direction: most where units are
saturated. The shapes are right, and the loss usually still falls. With small
weights tanh is nearly linear and the factor nearly 1, so that a check at the
start of training hardly sees the difference.

Example (samples first)
-----------------------
dZ1 stops at the product with W2.T::

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
        dZ1 = dZ2 @ W2.T
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

Use instead (samples first)
---------------------------
Multiply by the derivative of tanh, written in terms of its output::

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
For each value used as delta of some z that is not its gradient, the steps of
the forward pass that start at z and act on each element alone are measured,
together with their slope. The rule fires if the value times that slope is the
right delta (relative error below 1e-5). The weights are random ones of
ordinary size, so that the slope is far from 1.

At the output each of two deltas may be right for a loss of its own: output
less target is the gradient of the output for squared error, and that of what
goes into a sigmoid for cross-entropy. Where one gradient takes it for the
one, and another for the other, the line without the derivative is blamed.

Fix safety
----------
For tanh, sigmoid and ReLU the factor is added at the end of the expression,
in the names of the program; for other activations the finding says what to
multiply by. The changed program is examined again from another seed, and the
fix is called verified only if the finding is gone and no error is new.

Known limits
------------
- Activations that act on each element alone; a softmax inside the network is
  judged too, but by BD300.
- A - Y without a derivative is right at the output for softmax with
  cross-entropy and for sigmoid with binary cross-entropy, and is not
  reported.
- If the delta has a second fault, the product does not fit, and BD300 reports
  the line.

References
----------
- Rumelhart, Hinton and Williams (1986), Learning representations by
  back-propagating errors, Nature 323, 533-536.
- Nielsen (2015), Neural Networks and Deep Learning, Determination Press,
  chapter 2, equation BP2.
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  5.3.1.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.adjoints import Adjoint
from backprop_doctor.case import Case, Sighting
from backprop_doctor.records import Evidence
from backprop_doctor.roles import Quantity
from backprop_doctor.rules._activation import Activation, activations_after, derivative_text
from backprop_doctor.rules._lines import Line, masks

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """The value used as adjoint of z is in truth the adjoint of a = act(z)."""
    for wrong in case.wrong_adjoints:
        for activation in activations_after(case, wrong):
            z, a, b = wrong.of, activation.output, wrong.value
            line = Line(case, wrong)
            if not activation.adjoint_of_output(b).right or _is_another_fault(line, activation):
                continue
            if not line.fits(np.reshape(case.value(b), activation.slope.shape) * activation.slope).right:
                continue
            used = _used_instead(case, wrong)
            if used is not None:
                yield used
                break
            formula = derivative_text(activation)
            node = _handed_on(case, b)
            end = case.source.position(node)
            insertion = case.insertion(end.end_line, end.end_column, f" * {formula}", node)
            yield Sighting(
                node=node,
                message=f"{b.name} is used as the gradient of {z.name}, and is the gradient of {a.name}: the "
                f"derivative of the activation is missing",
                label=f"no derivative of {activation.name}",
                why=f"{a.name} = {activation.name}({z.name}), so d{z.name} = d{a.name} * "
                f"{activation.name}'({z.name}), element by element",
                evidence=(
                    Evidence(f"{b.name} as gradient of {z.name}", f"error {wrong.fit.residual:.2g}", "below 1e-5"),
                    Evidence(
                        f"{b.name} as gradient of {a.name}",
                        f"error {activation.adjoint_of_output(b).residual:.1e}",
                        "below 1e-5",
                    ),
                ),
                fix=f"* {formula}" if formula else f"multiply by the derivative of {activation.name}",
                edits=(insertion,) if formula else (),
                # In a loop over layers the line makes several values, each as wrong as the other.
                objects=(b.object, *(w.value.object for w in case.wrong_adjoints if w.value.birth[0] == b.birth[0])),
            )
            break
    yield from _for_two_losses(case)


def _for_two_losses(case: Case) -> Iterator[Sighting]:
    """One error that is taken for the gradient of the output here, and there for that of what goes into it."""
    readers: dict[int, list[tuple[str, Adjoint, Adjoint]]] = {}
    for parameter in case.roles.parameters:
        gradient = case.gradient(parameter)
        links = case.chain(gradient) if gradient is not None else []
        if len(links) > 1 and all(link.right for link in links):
            readers.setdefault(links[-1].value.object, []).append((parameter.name, links[-2], links[-1]))
    blamed: set[int] = set()
    for several in readers.values():
        through = [(name, end) for name, _, end in several if _is_output(case, end)]
        past = [(r, end) for _, r, end in several if not _is_output(case, end) and end.given != "declared"]
        for reader, end in past if through else ():
            rightly, whole = through[0]
            activation = next((a for a in activations_after(case, end) if a.output.object == whole.of.object), None)
            if activation is None or end.loss == whole.loss or reader.value.birth[0] in blamed:
                continue
            blamed.add(reader.value.birth[0])
            node, formula = case.home(reader.value), derivative_text(activation)
            reads = [n for n in ast.walk(node) if isinstance(n, ast.expr) and case.text(n) == end.value.name]
            factor = f"{end.value.name} * {formula}" if formula else ""
            yield Sighting(
                node=node,
                message=f"{reader.value.name} takes {end.value.name} for the gradient of {end.of.name}, and "
                f"the gradient of {rightly} takes it for that of {whole.of.name}: the derivative of the activation "
                "is missing here",
                label=f"no derivative of {activation.name}",
                why=f"{end.value.name} is the gradient of {whole.of.name} for {whole.loss}, and that of {end.of.name} "
                f"for {end.loss}: no one loss has both gradients",
                evidence=(
                    Evidence(f"loss that {rightly} goes down", whole.loss, "one for all"),
                    Evidence(f"loss that what rests on {reader.value.name} goes down", end.loss, "one for all"),
                ),
                fix=factor or f"multiply {end.value.name} by the derivative of {activation.name}",
                edits=(case.edit(reads[0], f"({factor})"),) if factor and len(reads) == 1 else (),
                objects=tuple(r.value.object for r, _ in past if r.value.birth[0] == reader.value.birth[0]),
            )


def _is_output(case: Case, end: Adjoint) -> bool:
    return any(end.of.object == meeting.output.object for meeting in case.roles.meetings)


def _handed_on(case: Case, value: Quantity) -> ast.AST:
    """Where a function returns what it was given, as it is: a layer that takes no derivative; else what made it."""
    passing = []
    for event in case.step_events:
        site = case.program.sites[event.site]
        returned = isinstance(site.statement, ast.Return) and site.statement.value is site.node
        if event.object == value.object and event.index > value.index and returned and isinstance(site.node, ast.Name):
            passing.append(site.node)
    return passing[0] if len({id(node) for node in passing}) == 1 else case.home(value)


def _used_instead(case: Case, wrong: Adjoint) -> Sighting | None:
    """The value before the derivative is taken where the one after it is there, and right: its reader is blamed."""
    claims = case.judgement.claims
    right = [c.value for c in claims if c.right and c.of == wrong.of and c.value.object != wrong.value.object]
    readers = [c for c in claims if c.upstream == wrong.value and c.through == wrong.of]
    if not right or not readers:
        return None
    reader, name, other = readers[0].value, wrong.value.name, right[0].name
    reads = [n for n in ast.walk(case.statement(reader)) if isinstance(n, ast.expr) and case.text(n) == name]
    return Sighting(
        node=reads[0] if reads else case.home(reader),
        message=f"{reader.name} is made from {name}, which lacks the derivative of the activation; {other} has it",
        label=f"not the gradient of {wrong.of.name}",
        why=f"the gradient of {readers[0].of.name} takes the gradient of {wrong.of.name}, and that is {other}",
        evidence=(
            Evidence(f"{name} as gradient of {wrong.of.name}", f"error {wrong.fit.residual:.2g}", "below 1e-5"),
            Evidence(f"{other} as gradient of {wrong.of.name}", "right", "right"),
        ),
        fix=other,
        edits=(case.edit(reads[0], other),) if reads else (),
        objects=(reader.object,),
    )


def _is_another_fault(line: Line, activation: Activation) -> bool:
    """Whether a derivative stands there that is 1 everywhere, or the step that is left out is a dropout mask."""
    case, shape = line.case, activation.slope.shape
    dropped = any(np.shape(m.value) == shape and np.allclose(m.value, activation.slope) for m in case.once(masks))
    return dropped or any(
        not case.roles.on_labels[e.index] and np.shape(e.value) == shape and bool(np.all(case.value(e.key) == 1))
        for e in line.reads
    )
