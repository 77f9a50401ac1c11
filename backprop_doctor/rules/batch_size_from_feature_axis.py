"""BD101 batch-size-from-feature-axis: the average is taken over something other than the samples.

What it does
------------
Finds a mean over the batch that divides by a number read off the wrong axis:
the number of features (pixels, say), hidden units or classes in place of the
number of samples.

Why it is wrong
---------------
N samples, D features, C classes. The mean loss is the sum of the N losses
over N, and so is its gradient: with dZ of shape (N, C),

    dW = X.T @ dZ / N,    (D, N) @ (N, C) = (D, C)

The product sums over the samples, so N is the number that undoes the sum.
Dividing by D makes loss and gradients N/D times as large. With 10,000 images
of 784 pixels every step is 12.8 times the step that was meant, and it grows
with the batch. A gradient check passes: loss and gradient are scaled alike.
The loss at the start tells: with weights near zero it is ln C as a mean, and
ln C * N/D here (10.99 in place of 1.10 in the example).

Example (samples first)
-----------------------
X is (200, 20), a row for each sample; X.shape[1] counts the features::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))  # samples in rows
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W, b = np.zeros((20, 3)), np.zeros((1, 3))
    m = X.shape[1]
    for step in range(12):
        Z = X @ W + b
        E = np.exp(Z - Z.max(axis=1, keepdims=True))
        A = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / m
        dZ = (A - Y) / m
        dW = X.T @ dZ
        db = dZ.sum(axis=0, keepdims=True)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

Example (features first)
------------------------
X is (20, 200), a column for each sample; X.shape[0] counts the features::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 200))  # samples in columns
    labels = (rng.normal(size=(3, 20)) @ X).argmax(axis=0)
    Y = np.eye(3)[labels].T
    W, b = np.zeros((3, 20)), np.zeros((3, 1))
    m = X.shape[0]
    for step in range(12):
        Z = W @ X + b
        E = np.exp(Z - Z.max(axis=0, keepdims=True))
        A = E / E.sum(axis=0, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / m
        dZ = (A - Y) / m
        dW = dZ @ X.T
        db = dZ.sum(axis=1, keepdims=True)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

Use instead (samples first)
---------------------------
The samples are the rows, so they are counted by X.shape[0], or len(X)::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))  # samples in rows
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W, b = np.zeros((20, 3)), np.zeros((1, 3))
    m = X.shape[0]
    for step in range(12):
        Z = X @ W + b
        E = np.exp(Z - Z.max(axis=1, keepdims=True))
        A = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / m
        dZ = (A - Y) / m
        dW = X.T @ dZ
        db = dZ.sum(axis=0, keepdims=True)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

Use instead (features first)
----------------------------
The samples are the columns, so they are counted by X.shape[1]::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 200))  # samples in columns
    labels = (rng.normal(size=(3, 20)) @ X).argmax(axis=0)
    Y = np.eye(3)[labels].T
    W, b = np.zeros((3, 20)), np.zeros((3, 1))
    m = X.shape[1]
    for step in range(12):
        Z = W @ X + b
        E = np.exp(Z - Z.max(axis=0, keepdims=True))
        A = E / E.sum(axis=0, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / m
        dZ = (A - Y) / m
        dW = dZ @ X.T
        db = dZ.sum(axis=1, keepdims=True)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

How it is detected
------------------
The sample axis is found by running: the axis along which a change of one
slice of the inputs changes one slice of the output. Each number read off a
shape (X.shape[1], np.shape(X)[1], len(W)) that is the size of another axis is
replaced by N in a further run. The rule fires if a gradient or the loss
changes by exactly the ratio of the two numbers, and is 1/D (times 1, 2 or
1/2) of the sum over the samples: the number stands where N belongs.

Fix safety
----------
The index is changed to that of the sample axis, X.shape[1] to X.shape[0] or
the reverse. The changed program is examined again from another seed, and the
fix is called verified only if the finding is gone and no error is new. Steps
become N/D times shorter: a learning rate that was lowered to make up for the
long steps may have to be raised again.

Known limits
------------
- A number typed as such (m = 784) or unpacked (n, d = X.shape) is not
  followed back to the axis it came from.
- Where N equals the size of another axis, the two cannot be told apart. MNIST
  is served with a number of images that avoids this; data made by the program
  are taken as they are.
- Programs that take one sample at a time have no batch to average over.
- A sum without any division is no fault: it is the gradient of another loss.

References
----------
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  8.1.3: the gradient of the mean as an average over a minibatch.
- NumPy reference, ndarray.shape:
  https://numpy.org/doc/stable/reference/generated/numpy.ndarray.shape.html
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.program import Event, Key
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.source import Source

SEVERITY = "error"
SIMPLE = (1.0, 2.0, 0.5)


def examine(case: Case) -> Iterator[Sighting]:
    """Put the number of samples in place of each other size, and see what scales by the ratio."""
    n = case.samples
    if n < 2:
        return
    watched = _judged(case)
    seen: set[ast.AST] = set()
    for event in case.trace.events[: case.roles.step.middle]:
        origin = _origin(case, event)
        if origin is None or origin in seen or not _is_count(event, n):
            continue
        seen.add(origin)
        size = int(event.value)
        axis = next((a for a, s in case.axes.sizes.items() if s == size and a != "samples"), None)
        if axis is None:
            continue
        scaled = _scaled(case, origin, size, watched)
        wrong = [name for key, name in scaled.items() if _replaces_samples(case, key, size)]
        if wrong:
            yield Sighting(
                node=origin,
                message=f"{case.site(event.key).target or case.text(origin)} is {size}, the number of {axis}, and the "
                f"average is taken over it; there are {n} samples in this run",
                label=f"{size} {axis}, not the {n} samples",
                why=f"a mean over the batch divides by N = {n}; dividing by {size} makes the step N/{size} "
                "times too large, and more so the larger the batch",
                evidence=(
                    Evidence(
                        f"{', '.join(wrong[:4])} when this number is replaced by N",
                        f"times {size / n:.3g} exactly",
                        "no change",
                    ),
                ),
                fix=_fix(case, origin, n)[0],
                edits=_fix(case, origin, n)[1],
                symptoms=_symptoms(case, size, wrong),
                objects=(event.object,),
            )


def _symptoms(case: Case, size: int, wrong: list[str]) -> tuple[str, ...]:
    """What it does to the learning rate, on all the images the program is written for."""
    gradients = {g.value.name for g in case.judgement.gradients.values() if g}
    if not gradients & set(wrong):
        return ()
    times = case.images / size
    text = f"with {case.images} images each step is {times:.3g} times what it should be"
    if case.learning_rate is not None:
        name, rate = case.learning_rate
        text += (
            f": {name} = {rate:g} acts like {rate * times:.3g}, so that a {'lower' if times > 1 else 'higher'} rate "
            "seems to help; it makes up for the divisor and mends nothing"
        )
    return (text,)


def _origin(case: Case, event: Event) -> ast.AST | None:
    """Where a number was read off an array's shape: ``X.shape[1]``, ``len(W)``, or the name in ``n, m = X.shape``."""
    node = case.site(event.key).node
    if isinstance(node, ast.Subscript):
        return node if _is_shape(node.value) else None
    if isinstance(node, ast.Call):
        return node if isinstance(node.func, ast.Name) and node.func.id == "len" else None
    return _unpacked(case.source).get(node.id) if isinstance(node, ast.Name) else None


def _is_shape(node: ast.expr) -> bool:
    return (isinstance(node, ast.Attribute) and node.attr == "shape") or (
        isinstance(node, ast.Call) and ast.unparse(node.func).endswith("shape")
    )


@lru_cache(maxsize=1)
def _unpacked(source: Source) -> dict[str, ast.AST]:
    """Names bound by taking a shape apart, each where it is bound."""
    found: dict[str, ast.AST] = {}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple) and _is_shape(node.value):
            found |= {name.id: name for name in node.targets[0].elts if isinstance(name, ast.Name)}
    return found


def _is_count(event: Event, n: int) -> bool:
    return isinstance(event.value, int) and event.value > 1 and event.value != n


def _judged(case: Case) -> dict[Key, str]:
    """The gradients and the declared loss, with their names."""
    found = {g.value.birth: g.value.name for g in case.judgement.gradients.values() if g}
    for parameter in case.roles.parameters:
        for operand in case.judgement.operands[parameter.object][:1]:
            found.setdefault(operand.birth, operand.name)
    if case.judgement.declared:
        found[case.judgement.declared.birth] = case.judgement.declared.name
    return found


def _scaled(case: Case, origin: ast.AST, size: int, watched: dict[Key, str]) -> dict[Key, str]:
    """Which watched values scale by exactly size/N when the number is replaced by N."""
    n = case.samples
    ratio = n / size
    same = (e for e in case.trace.events if isinstance(e.value, int) and e.value == size)
    keys = {e.key for e in same if _origin(case, e) is origin}
    changed = case.measurement.run(dict.fromkeys(keys, lambda value: n), keep=frozenset(watched))
    result = {}
    for key, name in watched.items():
        before, after = case.value(key), changed.value(key)
        if before is None or after is None or np.shape(before) != np.shape(after):
            continue
        a, b = np.asarray(before, np.float64), np.asarray(after, np.float64)
        if np.any(a) and np.allclose(b * ratio, a, rtol=1e-9, atol=0) and np.all(np.isfinite(a)):
            result[key] = name
    return result


def _replaces_samples(case: Case, key: Key, size: int) -> bool:
    """Whether the value is 1/size (times a simple number) of the sum over samples: N is nowhere in it."""
    declared = case.judgement.declared
    if declared is not None and key == declared.birth:
        return _loss_replaces_samples(case, size)
    for gradient in case.judgement.gradients.values():
        if gradient is not None and gradient.value.birth == key:
            total = case.total_factor(gradient)
            if total is None:
                total = gradient.fit.factor if gradient.right else None
            # Over a loss that is a mean as it should be, the sum over samples has the factor N.
            sums = (1, case.samples) if case.chain(gradient)[-1].given == "declared" else (1,)
            return total is not None and any(abs(abs(total) * size / (s * n) - 1) < 1e-4 for s in SIMPLE for n in sums)
    # A bias gradient of the wrong shape has no factor: it follows what the others say.
    return any(
        g is not None and g.right and any(abs(abs(g.fit.factor) * size / s - 1) < 1e-4 for s in SIMPLE)
        for g in case.judgement.gradients.values()
    )


def _loss_replaces_samples(case: Case, size: int) -> bool:
    output, target, declared = case.roles.output, case.judgement.target, case.judgement.declared
    if output is None or target is None or declared is None:
        return False
    p = np.asarray(case.value(output), np.float64)
    loss = float(np.sum(np.asarray(case.value(declared))))
    with np.errstate(all="ignore"):
        sums = (
            -np.sum(target * np.log(p)),
            np.sum((p - target) ** 2),
            np.sum(-target * np.log(p) - (1 - target) * np.log(1 - p)),
        )
    return any(
        abs(loss * size / (s * total) - 1) < 1e-6 for total in sums for s in SIMPLE if np.isfinite(total) and total
    )


def _fix(case: Case, node: ast.AST, n: int) -> tuple[str, tuple[Edit, ...]]:
    """Swap the index of a shape where another index of the same shape is the number of samples."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        base = node.value.value if isinstance(node.value, ast.Attribute) else None
        if isinstance(node.value, ast.Call) and node.value.args:
            base = node.value.args[0]
        for event in case.trace.events:
            if base is not None and case.program.sites[event.site].node is base and n in np.shape(event.value):
                axis = np.shape(event.value).index(n)
                return f"{case.text(node.value)}[{axis}]", (case.edit(node.slice, str(axis)),)
    return "divide by the number of samples", ()
