"""BD109 parameter-carries-sample-axis: a parameter has one row or column for each sample.

What it does
------------
Finds a bias or a weight that is created with an axis of samples, so that
each sample has parameters of its own.

Why it is wrong
---------------
N samples, C units. A bias is added to every sample and has the shape (1,
C). With the shape (N, C), every sample has its own: it learns the answer
for this sample by heart, and says nothing about any other. The gradient is
exact and the loss falls fast. With any other number of samples the program
breaks, or it broadcasts what it learned for one sample over another.

Example (samples first)
-----------------------
b2 has 200 rows::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W1, b1 = 0.3 * rng.normal(size=(20, 16)), np.zeros((1, 16))
    W2, b2 = 0.3 * rng.normal(size=(16, 3)), np.zeros((200, 3))
    for step in range(12):
        Z1 = X @ W1 + b1
        A1 = np.tanh(Z1)
        Z2 = A1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / len(X)
        dZ2 = (A2 - Y) / len(X)
        dW2 = A1.T @ dZ2
        db2 = dZ2
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
b2 has 200 columns::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 200))
    labels = (rng.normal(size=(3, 20)) @ X).argmax(axis=0)
    Y = np.eye(3)[labels].T
    W1, b1 = 0.3 * rng.normal(size=(16, 20)), np.zeros((16, 1))
    W2, b2 = 0.3 * rng.normal(size=(3, 16)), np.zeros((3, 200))
    for step in range(12):
        Z1 = W1 @ X + b1
        A1 = np.tanh(Z1)
        Z2 = W2 @ A1 + b2
        E = np.exp(Z2 - Z2.max(axis=0, keepdims=True))
        A2 = E / E.sum(axis=0, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / X.shape[1]
        dZ2 = (A2 - Y) / X.shape[1]
        dW2 = dZ2 @ A1.T
        db2 = dZ2
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
b2 has one row, and its gradient is a sum over the samples::

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

Use instead (features first)
----------------------------
b2 has one column, and its gradient is a sum over the samples::

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
        dZ2 = (A2 - Y) / X.shape[1]
        dW2 = dZ2 @ A1.T
        db2 = dZ2.sum(axis=1, keepdims=True)
        dZ1 = (W2.T @ dZ2) * (1 - A1**2)
        dW1 = dZ1 @ X.T
        db1 = dZ1.sum(axis=1, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

How it is detected
------------------
A parameter with an axis as long as the batch is changed in one slice along
it, for each of five samples in turn, on inputs without structure. The rule
fires if the output changes for just that sample each time. An axis that has
the length by chance moves all samples. The gradient of the parameter has to
be right, so that no other array is taken for one.

Fix safety
----------
The number is replaced by 1 where the parameter is created with one tuple of
sizes, and its gradient is summed over the samples. The changed program is
examined again from another seed, and the fix is called verified only if the
finding is gone and no error is new.

Known limits
------------
- A bias that grows to one row a sample in its update is BD301, BD303 or
  BD405.
- Programs that take one sample at a time have no axis of samples.

References
----------
- Nielsen (2015), Neural Networks and Deep Learning, Determination Press,
  chapter 2, the four equations of backpropagation.
- NumPy user guide, broadcasting:
  https://numpy.org/doc/stable/user/basics.broadcasting.html
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting, always
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.roles import Parameter

SEVERITY = "error"
FEWEST = 5


def examine(case: Case) -> Iterator[Sighting]:
    """Change one slice of a parameter, and look which samples of the output move."""
    n, samples = case.samples, case.axes.output_samples
    # One sample with a weight for each of its numbers looks alike: its axis is none of samples.
    if n < FEWEST or samples is None or len(case.roles.batch.shape) < 2:
        return
    for parameter in case.roles.parameters:
        gradient = case.gradient(parameter)
        if gradient is None or not gradient.right:
            continue
        for axis, size in enumerate(parameter.shape):
            if size != n or not all(_moves_only(case, parameter, axis, i) for i in range(FEWEST)):
                continue
            other = (*parameter.shape[:axis], 1, *parameter.shape[axis + 1 :])
            yield Sighting(
                node=case.home(parameter),
                message=f"{parameter.name} is {case.describe(parameter.shape)}: each sample has its own, which says "
                "nothing about any other sample",
                label=f"one for each of the {n} samples",
                why=f"a parameter is the same for all samples: {case.describe(other)}",
                evidence=(
                    Evidence(f"samples that move with the first slice of {parameter.name}", "sample 0 alone", "all"),
                    Evidence(f"samples that move with the second slice of {parameter.name}", "sample 1 alone", "all"),
                ),
                fix="1 in place of the number of samples, and a gradient summed over the samples",
                edits=_edits(case, parameter, axis),
                objects=(parameter.object,),
            )
            break


def _moves_only(case: Case, parameter: Parameter, axis: int, sample: int) -> bool:
    output, samples = case.roles.output, case.axes.output_samples
    assert output is not None
    assert samples is not None
    moved = np.array(case.value(parameter), np.float64)
    # Not the same for all classes: a softmax does not see that.
    moved[(slice(None),) * axis + (sample,)] += np.cos(np.arange(moved.size // moved.shape[axis])).reshape(
        moved.shape[:axis] + moved.shape[axis + 1 :]
    )
    # Inputs with a single 1 a sample have a weight for each sample by chance: take others.
    batch = case.roles.batch
    dense = always(np.random.default_rng(3).standard_normal(np.shape(case.value(batch))))
    before = case.changed({batch.birth: dense}, output.birth)
    after = case.changed({batch.birth: dense, parameter.birth: always(moved)}, output.birth)
    if after is None or before is None or np.shape(after) != np.shape(before):
        return False
    changes = np.abs(after - before).sum(axis=tuple(a for a in range(np.ndim(after)) if a != samples))
    return bool(changes[sample] > 0) and not np.any(np.delete(changes, sample))


def _edits(case: Case, parameter: Parameter, axis: int) -> tuple[Edit, ...]:
    """1 for the number of samples where the parameter is made, and the sum where its gradient is."""
    written = [tuple_ for call in ast.walk(case.home(parameter)) for tuple_ in _tuples(call)]
    gradient = case.gradient(parameter)
    if len(written) != 1 or len(written[0].elts) != len(parameter.shape) or gradient is None:
        return ()
    [sizes] = written
    value = gradient.value
    node = case.home(value)
    bound = case.binding.get(value.object)
    if bound is not None and isinstance(bound.statement, ast.Assign):
        node = bound.node
    read = [e for e in case.events_in(case.site(parameter.updates[-1]).statement) if e.object == value.object]
    if read and case.site(read[0].key).kind == "load":
        node = case.site(read[0].key).node
    summed = f"np.sum({case.text(node)}, axis={axis}, keepdims=True)"
    return (case.edit(sizes.elts[axis], "1"), case.edit(node, summed))


def _tuples(node: ast.AST) -> list[ast.Tuple]:
    """The tuples that a call is given, by place or by name."""
    given = [*node.args, *(k.value for k in node.keywords)] if isinstance(node, ast.Call) else []
    return [value for value in given if isinstance(value, ast.Tuple)]
