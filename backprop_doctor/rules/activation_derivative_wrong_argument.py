"""BD305 activation-derivative-wrong-argument: the activation's derivative is taken at the wrong value.

What it does
------------
Finds an activation's derivative that is taken at the wrong value: a formula
written for the output that is given the input, or the reverse.

Why it is wrong
---------------
With a = act(z), the slope can be written in terms of either:

    tanh:       act'(z) = 1 - tanh(z)**2           = 1 - a**2
    sigmoid:    act'(z) = sigma(z) * (1 - sigma(z)) = a * (1 - a)

The right-hand forms take a. Given z of shape (N, H) instead, 1 - z**2 has the
same shape and is a different number, negative where |z| > 1: there the delta
even changes its sign. The reverse also happens: a function that computes 1 -
tanh(x)**2 is given a, and applies tanh twice.

Example (samples first)
-----------------------
1 - a**2 is the derivative in terms of A1 and is given Z1::

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
        dZ1 = (dZ2 @ W2.T) * (1 - Z1**2)
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

Use instead (samples first)
---------------------------
Give the formula the value it was written for::

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
For each value used as delta of some z that is not its gradient, the slope of
the activation is measured by running. The delta is divided by a wrong slope
and multiplied by the true one. If the result is the right delta (relative
error below 1e-5), that wrong slope was used. Three are tried: 1 - z**2, z *
(1 - z), and the activation's own slope at a instead of z.

Fix safety
----------
The wrong value is replaced by the right one wherever it stands in that
statement, if that has a name there; else by what makes the output of the
input, or the call of the derivative by the derivative in terms of the output.
The changed program is examined again from another seed, and the fix is called
verified only if the finding is gone and no error is new.

Known limits
------------
- x * (1 - x) and 1 - x**2 are right when x is an activation; they are
  reported only where the run shows that x is not.
- The derivative of another function (sigmoid's for tanh, say) is reported as
  BD300.
- Where the wrong slope is zero, as with ReLU, dividing by it says nothing.
- If the derivative is a function of its own, the edit changes the argument of
  the call or writes the derivative there, and leaves the function.

References
----------
- Nielsen (2015), Neural Networks and Deep Learning, Determination Press,
  chapter 2, equation BP2.
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  5.3.2: the derivative of tanh in terms of its output.
- LeCun, Bottou, Orr and Müller (1998), Efficient BackProp, in Neural
  Networks: Tricks of the Trade, Springer.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.gradients import fit
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.roles import Quantity
from backprop_doctor.rules._activation import Activation, activations_after, upstream_derivatives

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """Divide the delta by the slope it used, put the true slope in its place, and see whether it fits."""
    for wrong in case.wrong_adjoints:
        for activation in activations_after(case, wrong):
            b, z, a = wrong.value, activation.input, activation.output
            if activation.adjoint_of_output(b).right:
                break
            used = _slope_used(case, activation, b)
            if used is None:
                continue
            text, given, wanted = used
            swap_from, swap_to = given.name, wanted.name
            fix, edits = _swap(case, activation, b, given, wanted)
            yield Sighting(
                node=case.home(b),
                message=f"{b.name} uses the derivative of {activation.name} at the wrong value: {text}",
                label=text,
                why=f"d{z.name} = d{a.name} * {activation.name}'({z.name}); a derivative written for "
                f"{swap_to} takes {swap_to}, not {swap_from}",
                evidence=(
                    Evidence(f"{b.name} as gradient of {z.name}", f"error {wrong.fit.residual:.2g}", "below 1e-5"),
                    Evidence(f"the same with the derivative at {swap_to}", "error below 1e-5", "below 1e-5"),
                ),
                fix=fix,
                edits=edits,
                objects=(b.object,),
            )
            break


def _slope_used(case: Case, activation: Activation, value: Quantity) -> tuple[str, Quantity, Quantity] | None:
    """Which wrong slope explains the delta: its description, the operand used and the one that belongs."""
    source, result = activation.input, activation.output
    z = np.asarray(case.value(activation.input), np.float64)
    a = np.asarray(case.value(activation.output), np.float64)
    zn, an = activation.input.name, activation.output.name
    candidates = [
        (1 - z**2, f"1 - x**2 is the derivative in terms of the output, and gets {zn}", source, result),
        (z * (1 - z), f"x * (1 - x) is the derivative in terms of the output, and gets {zn}", source, result),
    ]
    again = activation.slope_at(a)
    if again is not None:
        candidates.insert(0, (again, f"the derivative is a function of {zn}, and gets {an}", result, source))
    array = np.asarray(case.value(value), np.float64)
    tangents = case.measurement.tangents(activation.input.birth)
    for slope, text, swap_from, swap_to in candidates:
        if np.any(np.abs(slope) < 1e-12):
            safe = np.where(np.abs(slope) < 1e-12, np.nan, slope)
        else:
            safe = slope
        mended = np.nan_to_num(array / safe * activation.slope)
        analytic = np.array([float(np.sum(mended * t.direction)) for t in tangents])
        for numeric in upstream_derivatives(case, value, activation.input):
            if fit(analytic, numeric).right:
                return text, swap_from, swap_to
    return None


def _swap(
    case: Case, activation: Activation, value: Quantity, given: Quantity, wanted: Quantity
) -> tuple[str, tuple[Edit, ...]]:
    """The right operand by its name, or what makes it of the wrong one, or the derivative in terms of that."""
    statement = case.statement(value)
    events = [e for e in case.events_in(statement) if e.object == given.object and e.index <= value.index]
    sites = [case.program.sites[e.site] for e in events]
    reads = list(dict.fromkeys(site.node for site in sites if site.kind == "load"))
    text = f"{wanted.name} in place of {given.name}"
    if not reads:
        return text, ()
    if wanted.name != given.name and case.is_read_in(sites[0].scope, wanted.name):
        return text, tuple(case.edit(node, wanted.name) for node in reads)
    if wanted is activation.output:
        made = [_made_of(case, activation, case.text(node)) for node in reads]
        return (made[0], tuple(map(case.edit, reads, made))) if all(made) else (text, ())
    calls = [_sole_call(case, statement, node) for node in reads]
    slopes = [_in_terms_of_output(activation.name, case.text(node)) for node in reads]
    if not all(slopes):
        return text, ()
    known = [call for call in calls if call is not None]
    return slopes[0], tuple(map(case.edit, known, slopes)) if len(known) == len(calls) else ()


def _made_of(case: Case, activation: Activation, text: str) -> str:
    """The expression that makes the output, of an input called otherwise; empty where it reads more than that."""
    home = case.home(activation.output)
    reads = {case.program.sites[e.site].node for e in case.step_events if e.object == activation.input.object}
    own = {node for node in ast.walk(home) if node in reads}
    calls = [node.func for node in ast.walk(home) if isinstance(node, ast.Call)]
    inside = {part for node in [*own, *calls] for part in ast.walk(node)}
    free = [n for n in ast.walk(home) if isinstance(n, (ast.Name, ast.Attribute)) and n not in inside]
    if not own or free or not isinstance(home, ast.expr):
        return ""
    whole, start = case.text(home), case.source.position(home)
    for node in sorted(own, key=lambda node: -node.col_offset):  # type: ignore[attr-defined]
        at = case.source.position(node)
        if at.line != start.line or at.end_line != start.line:
            return ""
        first, last = at.column - start.column, at.end_column - start.column
        whole = whole[:first] + text + whole[last:]
    return whole if isinstance(home, ast.Call) else f"({whole})"


def _sole_call(case: Case, statement: ast.stmt, argument: ast.AST) -> ast.Call | None:
    """The call that is given one argument and nothing else."""
    calls = (n for n in ast.walk(statement) if isinstance(n, ast.Call) and n.args == [argument] and not n.keywords)
    return next(calls, None)


def _in_terms_of_output(name: str, text: str) -> str:
    return {"tanh": f"(1 - {text} ** 2)", "sigmoid": f"({text} * (1 - {text}))", "relu": f"({text} > 0)"}.get(name, "")
