"""BD303 bias-gradient-wrong-reduction: a bias gradient is not summed over the samples at all.

What it does
------------
Finds a bias gradient that still has its sample axis: the delta is used as it
is, without a sum over the samples.

Why it is wrong
---------------
N samples, C units. The bias is added to every sample, so with dZ of shape (N,
C) its derivative is a sum over them:

    db[c] = sum over i of dZ[i, c],    shape (1, C)

The weight gradient X.T @ dZ has this sum inside the product, (D, N) @ (N, C);
the bias gradient needs it spelled out. Without it db is (N, C), and the
update b - lr * db broadcasts b to (N, C): every sample gets biases of its
own. The training loss falls nicely, since samples are learned by heart, and
the network cannot be applied to another number of samples.

Example (samples first)
-----------------------
db is (200, 3), b is (1, 3)::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))  # samples in rows
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W, b = np.zeros((20, 3)), np.zeros((1, 3))
    for step in range(12):
        Z = X @ W + b
        E = np.exp(Z - Z.max(axis=1, keepdims=True))
        A = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / len(X)
        dZ = A - Y
        dW = X.T @ dZ / len(X)
        db = dZ / len(X)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

Example (features first)
------------------------
db is (3, 200), b is (3, 1)::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 200))  # samples in columns
    labels = (rng.normal(size=(3, 20)) @ X).argmax(axis=0)
    Y = np.eye(3)[labels].T
    W, b = np.zeros((3, 20)), np.zeros((3, 1))
    for step in range(12):
        Z = W @ X + b
        E = np.exp(Z - Z.max(axis=0, keepdims=True))
        A = E / E.sum(axis=0, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / X.shape[1]
        dZ = A - Y
        dW = dZ @ X.T / X.shape[1]
        db = dZ / X.shape[1]
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

Use instead (samples first)
---------------------------
Sum over the samples, axis 0::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))  # samples in rows
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W, b = np.zeros((20, 3)), np.zeros((1, 3))
    for step in range(12):
        Z = X @ W + b
        E = np.exp(Z - Z.max(axis=1, keepdims=True))
        A = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / len(X)
        dZ = A - Y
        dW = X.T @ dZ / len(X)
        db = dZ.sum(axis=0, keepdims=True) / len(X)
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

Use instead (features first)
----------------------------
Sum over the samples, axis 1::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 200))  # samples in columns
    labels = (rng.normal(size=(3, 20)) @ X).argmax(axis=0)
    Y = np.eye(3)[labels].T
    W, b = np.zeros((3, 20)), np.zeros((3, 1))
    for step in range(12):
        Z = W @ X + b
        E = np.exp(Z - Z.max(axis=0, keepdims=True))
        A = E / E.sum(axis=0, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / X.shape[1]
        dZ = A - Y
        dW = dZ @ X.T / X.shape[1]
        db = dZ.sum(axis=1, keepdims=True) / X.shape[1]
        W = W - 0.5 * dW
        b = b - 0.5 * db
        print(step, loss)

How it is detected
------------------
For each parameter whose gradient does not fit, the rule looks for one that
has as many slices along the sample axis as there are samples, or one as large
as the parameter that was cut out of such a delta (the last row, say, or the
largest entries). It fires if the sum of the delta over the samples is the
numeric gradient of the parameter, up to a constant, with a relative error
below 1e-5.

Fix safety
----------
What keeps its sample axis is put into np.sum(..., axis=0, keepdims=True) or
axis=1. The changed program is examined again from another seed, and the fix
is called verified only if the finding is gone and no error is new. For what
was cut out of a delta no edit is made.

Known limits
------------
- Only two-dimensional deltas are looked at. Where the output has one
  dimension, the grown bias is reported as BD405.
- np.mean in place of np.sum is a matter of a factor, reported as BD311.
- In a program that takes one sample at a time the delta is the bias gradient,
  and rightly so.

References
----------
- Nielsen (2015), Neural Networks and Deep Learning, Determination Press,
  chapter 2: the derivative by the bias is the delta, summed over the samples
  of the batch.
- NumPy user guide, Broadcasting:
  https://numpy.org/doc/stable/user/basics.broadcasting.html
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.adjoints import is_name
from backprop_doctor.case import Case, Sighting
from backprop_doctor.gradients import fit
from backprop_doctor.instrument import Site
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.roles import Quantity
from backprop_doctor.rules._bias import BiasGradient, bias_gradients, growth

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """A gradient that is not the sum over the samples of the delta it is made of, where that sum is right."""
    samples = case.axes.output_samples
    if samples is None:
        return
    for bias in bias_gradients(case):
        p, g, delta = bias.parameter, bias.gradient, bias.upstream
        keeps = np.size(case.value(g)) != int(np.prod(p.shape))
        if keeps:
            # In its own line, whatever that line reads: the sum belongs around all of it.
            delta = g
        if bias.reduction is not None and (keeps or bias.reduction.axes != (samples,)):
            continue
        shape = np.shape(case.value(delta))
        if len(shape) != 2 or shape[samples] != case.samples or case.samples < 2:
            continue
        found = case.biased(p, (samples,), delta)
        if found is None or found[1] > 1e-5 or (not keeps and _is_sum(case, g, delta, samples)):
            continue
        stated = case.gradient(p)
        node = _place(case, bias) if keeps else case.home(g)
        yield Sighting(
            node=node,
            message=f"the gradient of {p.name} keeps its sample axis: {g.name} is {case.describe(g.shape)}, "
            f"{p.name} is {case.describe(p.shape)}"
            if keeps
            else f"the gradient of {p.name}, {g.name}, is not the sum of {delta.name} {case.describe(shape)} over the "
            "samples",
            label="not summed over the samples",
            why=f"{p.name} is added to every sample, so its gradient is the sum of the "
            f"{('rows', 'columns')[samples]} of {delta.name} over the samples",
            evidence=(
                *((Evidence(f"shape of {g.name}", case.describe(g.shape), case.describe(p.shape)),) if keeps else ()),
                Evidence(
                    f"{delta.name} summed over axis {samples} against the numeric gradient",
                    f"factor {case.factor(found[0])}, error {found[1]:.1e}",
                    "constant factor, error below 1e-5",
                ),
            ),
            fix=f"np.sum({delta.name if is_name(delta.name) else '...'}, axis={samples}, keepdims=True)",
            edits=_summed(case, node, samples, keepdims=len(p.shape) == 2)
            if keeps and isinstance(node, ast.expr)
            else (),
            symptoms=growth(case, p) if keeps else (),
            objects=(g.object, p.successor, *((stated.value.object,) if stated is not None else ())),
        )


def _is_sum(case: Case, gradient: Quantity, delta: Quantity, samples: int) -> bool:
    """Whether a value is a multiple of the sum over the samples: then its fault is another one."""
    summed = np.asarray(case.value(delta), np.float64).sum(axis=samples)
    return fit(np.ravel(case.value(gradient)), summed.ravel()).right


def _place(case: Case, bias: BiasGradient) -> ast.expr:
    """Where a bias is given what has one row for each sample: the line of its own, or where a delta is handed on."""
    whole = np.ravel(case.value(bias.gradient))
    alike = [q for q in case.judgement.backward if np.size(case.value(q)) == whole.size]
    alike = [q for q in alike if q.object == bias.gradient.object or fit(np.ravel(case.value(q)), whole).right]
    deltas = {c.upstream.object for c in case.judgement.claims if c.upstream is not None}
    first = min((q.index for q in alike if q.object in deltas), default=-1)
    own = [q for q in alike if q.index > first and q.object not in deltas and q.object in case.binding]
    node = case.home(own[0] if own and first >= 0 else bias.gradient)
    if not own and first >= 0:
        statements = [case.site(key).statement for key in bias.parameter.updates]
        update = min(case.trace.by_key[key].index for key in bias.parameter.updates)
        for event in reversed(case.step_events):
            site = case.program.sites[event.site]
            read = site.kind == "load" and not site.children and event.object in {q.object for q in alike}
            if read and event.index < update and (site.statement in statements or _is_handed_on(site)):
                node = site.node
                break
    assert isinstance(node, ast.expr)
    return node


def _is_handed_on(site: Site) -> bool:
    """Whether a line binds, stores or returns what it reads, as it is."""
    for node in ast.walk(site.statement):
        held = node.values if isinstance(node, ast.Dict) else [getattr(node, "value", None)]
        if isinstance(node, (ast.Tuple, ast.List)):
            held = list(node.elts)
        if isinstance(node, (ast.Dict, ast.Tuple, ast.List, ast.Assign, ast.Return)) and site.node in held:
            return True
    return False


def _summed(case: Case, node: ast.AST, axis: int, *, keepdims: bool) -> tuple[Edit, ...]:
    """An expression summed over the samples."""
    names = (
        a.asname or a.name
        for n in ast.walk(case.source.tree)
        if isinstance(n, ast.Import)
        for a in n.names
        if a.name == "numpy"
    )
    numpy = next(names, None)
    if numpy is None:
        return ()
    kept = ", keepdims=True" if keepdims else ""
    return (case.edit(node, f"{numpy}.sum({case.text(node)}, axis={axis}{kept})"),)
