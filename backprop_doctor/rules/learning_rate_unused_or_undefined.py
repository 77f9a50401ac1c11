"""BD407 learning-rate-unused-or-undefined: a number that is given to the training never reaches the update.

What it does
------------
Finds a number, such as a learning rate, that is handed to the function or
the class that updates the parameters, and that nothing ever reads.

Why it is wrong
---------------
The update is

    W = W - rate * dW

Where rate is left out, or a number is written in its place, the steps are
what they are, and every search for a better rate compares runs that are the
same.

Example (samples first)
-----------------------
rate is an argument that is not read::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    Y = np.sin(X @ rng.normal(size=(20, 3)))


    def train(X, Y, hidden, steps, rate):
        W1, b1 = 0.3 * rng.normal(size=(20, hidden)), np.zeros((1, hidden))
        W2, b2 = 0.3 * rng.normal(size=(hidden, 3)), np.zeros((1, 3))
        for step in range(steps):
            A1 = np.tanh(X @ W1 + b1)
            D2 = (A1 @ W2 + b2 - Y) / len(X)
            print(step, 0.5 * len(X) * np.sum(D2**2))
            dW2 = A1.T @ D2
            db2 = D2.sum(axis=0, keepdims=True)
            D1 = (D2 @ W2.T) * (1 - A1**2)
            dW1 = X.T @ D1
            db1 = D1.sum(axis=0, keepdims=True)
            W1, b1 = W1 - dW1, b1 - db1
            W2, b2 = W2 - dW2, b2 - db2


    train(X, Y, 16, 12, 0.3)

Use instead (samples first)
---------------------------
The step is the rate times the gradient::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    Y = np.sin(X @ rng.normal(size=(20, 3)))


    def train(X, Y, hidden, steps, rate):
        W1, b1 = 0.3 * rng.normal(size=(20, hidden)), np.zeros((1, hidden))
        W2, b2 = 0.3 * rng.normal(size=(hidden, 3)), np.zeros((1, 3))
        for step in range(steps):
            A1 = np.tanh(X @ W1 + b1)
            D2 = (A1 @ W2 + b2 - Y) / len(X)
            print(step, 0.5 * len(X) * np.sum(D2**2))
            dW2 = A1.T @ D2
            db2 = D2.sum(axis=0, keepdims=True)
            D1 = (D2 @ W2.T) * (1 - A1**2)
            dW1 = X.T @ D1
            db1 = D1.sum(axis=0, keepdims=True)
            W1, b1 = W1 - rate * dW1, b1 - rate * db1
            W2, b2 = W2 - rate * dW2, b2 - rate * db2


    train(X, Y, 16, 12, 0.3)

How it is detected
------------------
Arguments of the function that holds an update, and attributes of its class,
that were given a number with a fraction and are read nowhere. The steps of
one run are divided by their gradients, to show what takes the place of the
number.

Fix safety
----------
No edit is proposed: which of the numbers is meant cannot be seen.

Known limits
------------
- Whole numbers, names that begin with an underscore, and functions that
  call locals() are left alone.
- A rate that is undefined ends the run, and that is what is reported.

References
----------
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  8.3: stochastic gradient descent and momentum.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.gradients import aligned, fit
from backprop_doctor.records import Evidence

SEVERITY = "warning"


def examine(case: Case) -> Iterator[Sighting]:
    """Numbers given to the function or class that updates, and read nowhere."""
    updates = {id(case.site(key).statement) for p in case.roles.parameters for key in p.updates}
    seen = [s for p in case.roles.parameters if (s := _step(case, p.object)) is not None]
    if not seen:
        return
    name, factor = seen[0]
    holders = [n for n in ast.walk(case.source.tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
    for holder in holders:
        if not any(id(n) in updates for n in ast.walk(holder)):
            continue
        unused = _arguments(case, holder) if isinstance(holder, ast.FunctionDef) else _attributes(case, holder)
        for node, text, value in unused:
            yield Sighting(
                node=node,
                message=f"{text} is {value:g} and is read nowhere: the parameters move as they do whatever it is",
                label="never read",
                evidence=(
                    Evidence(
                        f"step of {name} over its gradient", f"{factor:.3g}", f"a multiple of {text}, if it is the rate"
                    ),
                ),
                fix=f"use {text}, or take it away",
            )


def _step(case: Case, number: int) -> tuple[str, float] | None:
    parameter = next(p for p in case.roles.parameters if p.object == number)
    gradient = case.gradient(parameter)
    after, before = case.live.value(parameter.updates[-1]), case.live.value(parameter.birth)
    value = aligned(case.live.value(gradient.value.birth), parameter.shape) if gradient else None
    if after is None or value is None or np.shape(after) != np.shape(before):
        return None
    found = fit((np.asarray(after, np.float64) - before).ravel(), value.ravel())
    return (parameter.name, found.factor) if found.right else None


def _arguments(case: Case, function: ast.FunctionDef) -> Iterator[tuple[ast.AST, str, float]]:
    """Arguments that got a number with a fraction, and that the function does not read."""
    names = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    if "locals" in names:
        return
    for place, argument in enumerate(arguments):
        if argument.arg not in names and not argument.arg.startswith("_"):
            value = _given(case, function, argument.arg, place)
            if value is not None:
                yield argument, argument.arg, value


def _given(case: Case, function: ast.FunctionDef, name: str, place: int) -> float | None:
    """The number an argument gets in a call, or by default."""
    for call in ast.walk(case.source.tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, (ast.Name, ast.Attribute)):
            continue
        called = call.func.id if isinstance(call.func, ast.Name) else call.func.attr
        shift = int(isinstance(call.func, ast.Attribute))
        if called != function.name:
            continue
        options = [k.value for k in call.keywords if k.arg == name] + call.args[place - shift : place - shift + 1]
        for option in options:
            value = _number(case, option)
            if value is not None:
                return value
    positional = [*function.args.posonlyargs, *function.args.args]
    defaults = dict(zip((a.arg for a in reversed(positional)), reversed(function.args.defaults), strict=False))
    defaults |= {a.arg: d for a, d in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True) if d}
    return _number(case, defaults[name]) if name in defaults else None


def _number(case: Case, node: ast.expr) -> float | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, float) else None
    events = (e for e in case.trace.events if case.program.sites[e.site].node is node)
    value = next((e.value for e in events), None)
    return value if isinstance(value, float) else None


def _attributes(case: Case, holder: ast.ClassDef) -> Iterator[tuple[ast.AST, str, float]]:
    """Attributes that are set to a number with a fraction, and that nothing in the file reads."""
    read = {
        n.attr for n in ast.walk(case.source.tree) if isinstance(n, ast.Attribute) and not isinstance(n.ctx, ast.Store)
    }
    strings = {n.value for n in ast.walk(case.source.tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    for node in ast.walk(holder):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            target = node.targets[0]
            value = _number(case, node.value)
            if target.attr not in read | strings and not target.attr.startswith("_") and value is not None:
                yield node, case.text(target), value
