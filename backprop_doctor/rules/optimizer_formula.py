"""BD408 optimizer-formula: the steps of momentum or Adam do not answer to gradients as they should.

What it does
------------
Finds a velocity that works against the gradients it is made of, and an Adam
whose correction for the start is the same at every step.

Why it is wrong
---------------
Momentum remembers: v = beta v + g, W = W - rate v, all of the shape of W.
After one gradient g and none from then on, the steps are -rate g (1, beta,
beta**2, ...), all in one direction. With v = g - beta v they go back and
forth.

Adam divides its means by 1 - beta**t, at step t. For the same gradient
again and again every step is then of length rate. Without the power t, step
2 is (1 + beta1) / sqrt(1 + beta2) = 1.34 times step 1, and so on up to (1 -
beta1)**-1 sqrt(1 - beta2), about a third.

Example (samples first)
-----------------------
The velocity is subtracted from the gradient that it should add to::

    import numpy as np

    rng = np.random.default_rng(4)
    X = rng.normal(size=(80, 6))
    T = np.sin(X @ rng.normal(size=(6, 2)))
    W, b = 0.5 * rng.normal(size=(6, 2)), np.zeros((1, 2))
    vW, vb = np.zeros_like(W), np.zeros_like(b)
    for step in range(30):
        out = np.tanh(X @ W + b)
        loss = 0.5 * np.sum((out - T) ** 2) / len(X)
        d = (out - T) * (1 - out**2) / len(X)
        gW = X.T @ d
        gb = d.sum(axis=0, keepdims=True)
        vW = gW - 0.9 * vW
        vb = 0.9 * vb + gb
        W = W - 0.05 * vW
        b = b - 0.05 * vb
        print(step, loss)

Example (features first)
------------------------
The same, with samples in columns::

    import numpy as np

    rng = np.random.default_rng(4)
    X = rng.normal(size=(6, 80))
    T = np.sin(rng.normal(size=(2, 6)) @ X)
    W, b = 0.5 * rng.normal(size=(2, 6)), np.zeros((2, 1))
    vW, vb = np.zeros_like(W), np.zeros_like(b)
    for step in range(30):
        out = np.tanh(W @ X + b)
        loss = 0.5 * np.sum((out - T) ** 2) / X.shape[1]
        d = (out - T) * (1 - out**2) / X.shape[1]
        gW = d @ X.T
        gb = d.sum(axis=1, keepdims=True)
        vW = gW - 0.9 * vW
        vb = 0.9 * vb + gb
        W = W - 0.05 * vW
        b = b - 0.05 * vb
        print(step, loss)

Use instead (samples first)
---------------------------
The velocity is kept and the gradient added::

    import numpy as np

    rng = np.random.default_rng(4)
    X = rng.normal(size=(80, 6))
    T = np.sin(X @ rng.normal(size=(6, 2)))
    W, b = 0.5 * rng.normal(size=(6, 2)), np.zeros((1, 2))
    vW, vb = np.zeros_like(W), np.zeros_like(b)
    for step in range(30):
        out = np.tanh(X @ W + b)
        loss = 0.5 * np.sum((out - T) ** 2) / len(X)
        d = (out - T) * (1 - out**2) / len(X)
        gW = X.T @ d
        gb = d.sum(axis=0, keepdims=True)
        vW = 0.9 * vW + gW
        vb = 0.9 * vb + gb
        W = W - 0.05 * vW
        b = b - 0.05 * vb
        print(step, loss)

Use instead (features first)
----------------------------
The velocity is kept and the gradient added::

    import numpy as np

    rng = np.random.default_rng(4)
    X = rng.normal(size=(6, 80))
    T = np.sin(rng.normal(size=(2, 6)) @ X)
    W, b = 0.5 * rng.normal(size=(2, 6)), np.zeros((2, 1))
    vW, vb = np.zeros_like(W), np.zeros_like(b)
    for step in range(30):
        out = np.tanh(W @ X + b)
        loss = 0.5 * np.sum((out - T) ** 2) / X.shape[1]
        d = (out - T) * (1 - out**2) / X.shape[1]
        gW = d @ X.T
        gb = d.sum(axis=1, keepdims=True)
        vW = 0.9 * vW + gW
        vb = 0.9 * vb + gb
        W = W - 0.05 * vW
        b = b - 0.05 * vb
        print(step, loss)

How it is detected
------------------
Where an array of a parameter's shape is carried from one step to the next,
the gradient of that parameter is replaced in three runs of five steps: by
0, by one array once and then 0, and by the same array five times. Steps
without a gradient are taken off. The second step of the second run must not
be opposite to the first. If the first step of the third run has the same
length in every entry, equal to a rate of the program, the later ones are
compared with those of an Adam without the power. If it is 1 over the gradient
in every entry, the root of the mean of squares is missing.

Fix safety
----------
Where the memory is subtracted, + is written for -. Where Adam's correction
lacks its power, the memories are divided by 1 - beta ** t: t is what the loop
of the training counts, or a new count where there are loops inside it, since
one that starts anew in each epoch is none. For the other faults no edit is
proposed. The changed program is examined again.

Known limits
------------
- A factor that is only another scale, such as the rate taken twice, is a
  choice as good as any, and not reported.
- Schedules of the rate, Nesterov's form, RMSProp and AdaGrad pass.
- Programs whose steps cannot be followed for five turns are not judged.

References
----------
- Kingma and Ba (2015), Adam: a method for stochastic optimization, ICLR,
  algorithm 1.
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  8.3: stochastic gradient descent and momentum.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.step_response import Response, memories, respond
from backprop_doctor.program import Event
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.roles import Parameter

SEVERITY = "error"
TOLERANCE = 1e-3


def examine(case: Case) -> Iterator[Sighting]:
    """Feed known gradients to each parameter that has a memory."""
    blamed: set[ast.stmt] = set()
    for parameter in case.roles.parameters:
        kept = memories(case, parameter)
        gradient = case.gradient(parameter)
        # In the first step a velocity is a multiple of the gradient: what is replaced must not be the memory.
        if gradient is None or not kept or gradient.value.index >= min(e.index for e in kept):
            continue
        response = respond(case, parameter) if np.prod(parameter.shape) > 1 else None
        if response is None or not np.any(response.impulse[0]):
            continue
        backwards = _backwards(parameter, response)
        powerless = None if backwards else _without_power(case, parameter, response)
        found = backwards or powerless
        statement = case.program.sites[kept[0].site].statement
        unrooted = None if found else _without_root(parameter, response)
        if unrooted is not None:
            found, statement = unrooted, case.site(parameter.updates[-1]).statement
        if found is None or statement in blamed:
            continue
        blamed.add(statement)
        message, why, evidence = found
        bound = case.binding.get(kept[0].object)
        yield Sighting(
            node=statement if bound is None or unrooted else bound.statement,
            message=message,
            label="the steps do not add up",
            why=why,
            evidence=evidence,
            fix="+ instead of -" if backwards else "1 - beta**t, t being 1 at the first step" if powerless else "",
            edits=_added(case, statement, kept) if backwards else _raised(case) if powerless else (),
            objects=(kept[0].object,),
        )


def _added(case: Case, statement: ast.stmt, kept: list[Event]) -> tuple[Edit, ...]:
    """``+`` for the ``-`` before the memory in the statement that makes it, if it has one."""
    memories_read = {case.text(t) for t in getattr(statement, "targets", [])} | {
        case.text(case.program.sites[e.site].node) for e in kept
    }

    def holds(node: ast.AST) -> bool:
        return any(isinstance(n, ast.expr) and case.text(n) in memories_read for n in ast.walk(node))

    for node in ast.walk(statement):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and holds(node.right):
            left, right = case.source.position(node.left), case.source.position(node.right)
            column = case.source_of(node).line(left.end_line).find("-", left.end_column - 1) + 1
            if left.end_line == right.line and 0 < column < right.column:
                at = case.insertion(left.end_line, column, "", node).position
                return (Edit(replace(at, end_column=column + 1), "+"),)
        if isinstance(node, ast.BinOp) and isinstance(node.left, ast.UnaryOp) and holds(node):
            return (case.edit(node.left, case.text(node.left.operand)),)
    return ()


def _raised(case: Case) -> tuple[Edit, ...]:
    """The power of the step in each ``1 - beta`` that a memory is divided by."""
    betas: dict[ast.expr, str] = {}
    kept = {e.object for p in case.roles.parameters for e in memories(case, p)}
    for event in case.step_events:
        site = case.program.sites[event.site]
        node = site.node
        # Dropout divides by 1 - p too, but not its memories.
        is_mean = any(o.object in kept for o in case.children(event))
        if not is_mean or not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Div):
            continue
        inner = node.right
        if not isinstance(inner, ast.BinOp) or not isinstance(inner.op, ast.Sub) or case.number(inner.left) != 1:
            continue
        beta = case.number(inner.right)
        if beta is not None and 0.5 <= beta < 1 and isinstance(inner.right, (ast.Name, ast.Attribute, ast.Constant)):
            betas[inner.right] = site.scope
    if not betas or len(set(betas.values())) > 1:
        return ()
    step, counting = _counter(case, next(iter(betas.values()))), tuple[Edit, ...]()
    if not step:
        step, counting = _new_counter(case, list(betas))
    powers = tuple(case.edit(node, f"{case.text(node)} ** {step}") for node in betas)
    return (*counting, *powers) if step else ()


def _new_counter(case: Case, betas: list[ast.expr]) -> tuple[str, tuple[Edit, ...]]:
    """A count of the steps: set to 0 before the training, and raised in each step before it is read."""
    loops = [case.program.sites[number].node for number in (case.roles.training.loop, case.roles.step.loop)]
    training, step = loops
    if not isinstance(training, (ast.For, ast.While)) or not isinstance(step, (ast.For, ast.While)):
        return "", ()
    home = case.source_of(training)
    names = {node.id for node in ast.walk(home.tree) if isinstance(node, ast.Name)}
    name = next((name for name in ("t", "steps", "step_number") if name not in names), "")
    first = next((s for s in step.body if any(beta in ast.walk(s) for beta in betas)), None)
    # Where several parameters take their turns in a loop of their own, one step has many turns.
    plain = isinstance(first, (ast.Assign, ast.AugAssign)) and step in ast.walk(training)
    if not name or first is None or not plain or _is_nested(case, training):
        return "", ()
    outer, inner = (home.line(n.lineno)[: n.col_offset] for n in (training, first))
    if outer.strip() or inner.strip():
        return "", ()
    ending = "\r\n" if home.whole_line(training.lineno).endswith("\r\n") else "\n"
    return name, (
        case.insertion(training.lineno, 1, f"{outer}{name} = 0{ending}", training),
        case.insertion(first.lineno, 1, f"{inner}{name} += 1{ending}", training),
    )


def _counter(case: Case, scope: str) -> str:
    """The number of the step, from 1 on, by what the loop of the training counts; empty where that starts anew."""
    roles = case.roles
    site = case.program.sites[roles.step.loop]
    loop = site.node
    if roles.step.loop != roles.training.loop or site.scope != scope or not isinstance(loop, ast.For):
        return ""
    over = loop.iter
    if not isinstance(over, ast.Call) or case.text(over.func) != "range" or not isinstance(loop.target, ast.Name):
        return ""
    first = 0 if len(over.args) == 1 else case.number(over.args[0]) if len(over.args) == 2 else None
    name = loop.target.id
    rebound = [n for n in ast.walk(loop) if isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Store)]
    if len(rebound) != 1 or _is_nested(case, loop):
        return ""
    return {0: f"({name} + 1)", 1: name}.get(first, "") if isinstance(first, int) else ""


def _is_nested(case: Case, loop: ast.For | ast.While) -> bool:
    outer = (n for n in ast.walk(case.source_of(loop).tree) if isinstance(n, (ast.For, ast.While)) and n is not loop)
    return any(loop in ast.walk(other) for other in outer)


def _backwards(parameter: Parameter, response: Response) -> tuple[str, str, tuple[Evidence, ...]] | None:
    """Whether the memory of one gradient moves the parameter back."""
    first = response.impulse[0]
    shares = [float(step @ first) / float(first @ first) for step in response.impulse]
    aligned = np.allclose(response.impulse[1], shares[1] * first, rtol=1e-4, atol=1e-6 * np.abs(first).max())
    if shares[1] > -1e-6 or not aligned:
        return None
    return (
        f"the memory of a gradient moves {parameter.name} back: after one gradient and none from then on, the steps "
        f"are 1, {', '.join(f'{s:.3g}' for s in shares[1:3])} times the first",
        "a velocity keeps the direction of the gradients it is made of: 1, beta, beta**2 ...",
        (Evidence("second step over the first, after one gradient", f"{shares[1]:.3g}", "0 or more"),),
    )


def _without_root(parameter: Parameter, response: Response) -> tuple[str, str, tuple[Evidence, ...]] | None:
    """Whether the first step is the longer the smaller the gradient: it is over its square, not over the root of it."""
    products = response.constant[0] * response.gradient
    if np.size(products) != np.size(response.gradient) or not np.all(np.isfinite(products)) or not np.any(products):
        return None
    if np.ptp(products) > TOLERANCE * np.abs(products).max():
        return None
    size = np.abs(response.gradient)
    ratio = float(size.max() / size.min())
    return (
        f"{parameter.name} moves by 1 over its gradient: the smaller the gradient, the longer the step",
        "a mean of squares is divided by as its square root; gradient / gradient**2 is 1 / gradient",
        (
            Evidence(
                f"step at the smallest gradient over that at the largest, {ratio:.3g} times as large",
                f"{ratio:.3g}",
                "1, or less",
            ),
        ),
    )


def _without_power(
    case: Case, parameter: Parameter, response: Response
) -> tuple[str, str, tuple[Evidence, ...]] | None:
    """Whether the steps are those of Adam with 1 - beta in the place of 1 - beta**t."""
    sizes = [np.abs(step) for step in response.constant]
    length = float(sizes[0].mean())
    numbers = _numbers(case)
    if not length or np.ptp(sizes[0]) > TOLERANCE * length or not any(abs(length / n - 1) < TOLERANCE for n in numbers):
        return None
    ratios = [float(size.mean()) / length for size in sizes]
    for beta1, beta2 in permutations([n for n in numbers if 0.5 <= n < 1], 2):
        wanted = [sum(beta1**i for i in range(t)) / np.sqrt(sum(beta2**i for i in range(t))) for t in range(1, 5)]
        if abs(wanted[1] - 1) > 0.01 and np.allclose(ratios[:4], wanted, rtol=TOLERANCE):
            text = ", ".join(f"{r:.3g}" for r in ratios[:4])
            return (
                f"the correction of Adam for its start is the same at every step: with one gradient again and again "
                f"the steps of {parameter.name} are {text} times the first",
                "after t steps from 0 a mean is 1 - beta**t of what it stands for, and is divided by that",
                (Evidence("steps over the first, for the same gradient", text, "1, 1, 1, 1"),),
            )
    return None


def _numbers(case: Case) -> set[float]:
    """Numbers between 0 and 1 that the step reads or that are written in it."""
    seen = {e.value for e in case.step_events if isinstance(e.value, float) and 0 < e.value < 1}
    statements = {case.program.sites[e.site].statement for e in case.step_events}
    written = (n.value for s in statements for n in ast.walk(s) if isinstance(n, ast.Constant))
    return seen | {n for n in written if isinstance(n, float) and 0 < n < 1}
