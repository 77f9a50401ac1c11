"""BD805 model-cannot-represent-task: the answer hangs on one weighted sum, and the labels on products of the inputs.

What it does
------------
Warns of a network without a hidden layer, or with a single unit that all has
to pass, that is trained on labels which no weighted sum of the inputs follows
and which products of them explain, such as XOR or a ring of points.

Why it is wrong
---------------
N samples of D inputs, w of shape (D, 1). A growing function g gives

    a = g(x w + b)     one answer all along x w + b = c, and more beyond it

The best w by least squares solves cov(x, x) w = cov(x, y). For XOR each input
has covariance 0 with the labels, and so w = 0: both classes have one mean,
and no line has them on different sides. The product of the inputs tells them
apart, and two hidden units with a bend can make one. No step size and no
number of epochs can.

Example (samples first)
-----------------------
XOR, learnt by one unit::

    import numpy as np

    X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    y = np.array([[0], [1], [1], [0]])
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(2, 1)), np.zeros((1, 1))
    for step in range(2000):
        a = 1 / (1 + np.exp(-(X @ w + b)))
        loss = -np.mean(np.log(np.where(y == 1, a, 1 - a) + 1e-12))
        delta = (a - y) / len(X)
        w = w - 0.5 * X.T @ delta
        b = b - 0.5 * delta.sum(axis=0, keepdims=True)
        print(step, loss)

Example (features first)
------------------------
The same with samples in columns::

    import numpy as np

    X = np.array([[0, 0, 1, 1], [0, 1, 0, 1]])
    y = np.array([[0, 1, 1, 0]])
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(1, 2)), np.zeros((1, 1))
    for step in range(2000):
        a = 1 / (1 + np.exp(-(w @ X + b)))
        loss = -np.mean(np.log(np.where(y == 1, a, 1 - a) + 1e-12))
        delta = (a - y) / X.shape[1]
        w = w - 0.5 * delta @ X.T
        b = b - 0.5 * delta.sum(axis=1, keepdims=True)
        print(step, loss)

Use instead (samples first)
---------------------------
A hidden layer of three units::

    import numpy as np

    X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    y = np.array([[0], [1], [1], [0]])
    rng = np.random.default_rng(0)
    W1, b1 = rng.normal(size=(2, 3)), np.zeros((1, 3))
    w, b = rng.normal(size=(3, 1)), np.zeros((1, 1))
    for step in range(2000):
        H = np.tanh(X @ W1 + b1)
        a = 1 / (1 + np.exp(-(H @ w + b)))
        loss = -np.mean(np.log(np.where(y == 1, a, 1 - a) + 1e-12))
        delta = (a - y) / len(X)
        back = (delta @ w.T) * (1 - H**2)
        w = w - 0.5 * H.T @ delta
        b = b - 0.5 * delta.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * X.T @ back
        b1 = b1 - 0.5 * back.sum(axis=0, keepdims=True)
        print(step, loss)

Use instead (features first)
----------------------------
A hidden layer of three units::

    import numpy as np

    X = np.array([[0, 0, 1, 1], [0, 1, 0, 1]])
    y = np.array([[0, 1, 1, 0]])
    rng = np.random.default_rng(0)
    W1, b1 = rng.normal(size=(3, 2)), np.zeros((3, 1))
    w, b = rng.normal(size=(1, 3)), np.zeros((1, 1))
    for step in range(2000):
        H = np.tanh(W1 @ X + b1)
        a = 1 / (1 + np.exp(-(w @ H + b)))
        loss = -np.mean(np.log(np.where(y == 1, a, 1 - a) + 1e-12))
        delta = (a - y) / X.shape[1]
        back = (w.T @ delta) * (1 - H**2)
        w = w - 0.5 * delta @ H.T
        b = b - 0.5 * delta.sum(axis=1, keepdims=True)
        W1 = W1 - 0.5 * back @ X.T
        b1 = b1 - 0.5 * back.sum(axis=1, keepdims=True)
        print(step, loss)

How it is detected
------------------
First the data: least squares of the labels on the inputs, and on the inputs
with their squares and products of two. Without any further run the rule is
silent unless the first R^2 is 0 and the second 1 to rounding, as for XOR, or,
from 30 samples on, the first is within three standard deviations of what
chance gives, D / (N - 1), and the second is above 0.3 when it is adjusted for
the number of products, and five standard deviations above chance. It is
silent if a perceptron separates the samples.

Then the network: a value of the forward pass with f(p) + f(q) = f(p + q) +
f(0) for random inputs p and q is linear in them. The warning is given if the
output, one number a class, is a growing or falling function of such a value
over inputs of three sizes, or its softmax.

Fix safety
----------
No edit is made: a hidden layer needs a backward pass as well.

Known limits
------------
- It is a warning: a program may be there to show just this.
- Labels that need more than products of two inputs (spirals, the parity of
  three) are not told from labels by chance, and not reported.
- Networks with too few hidden units, but more than one, are not judged, nor
  are more than 20 inputs.
- Of perceptrons with a step for an activation nothing is said: no derivative
  tells which number is their output.

References
----------
- Minsky and Papert (1969), Perceptrons, MIT Press: what one layer cannot
  compute.
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  6.1: learning XOR.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.adjoints import as_target
from backprop_doctor.case import Case, Sighting, always
from backprop_doctor.records import Evidence
from backprop_doctor.roles import Quantity

SEVERITY = "warning"

Array = NDArray[np.float64]

MOST_INPUTS = 20
MOST_SAMPLES = 2_000
FEWEST = 4
ENOUGH = 30  # samples from which chance can be told
BEYOND = 20  # samples more than products, for products to explain anything
EXACT = 1e-9
EXPLAINED = 0.3
LINEAR_DEVIATIONS, PRODUCT_DEVIATIONS = 3.0, 5.0
PASSES = 100
POINTS = 12
SCALES = (1.0, 8.0, 60.0)  # an activation that bends back does so somewhere
ROUNDING = 1e-8


def examine(case: Case) -> Iterator[Sighting]:
    """Labels that no weighted sum explains and products do, and an output that is a function of weighted sums."""
    data = _data(case)
    if data is None:
        return
    fits = _fits(*data)
    if fits is None or _is_separable(*data):
        return
    inner = _weighted_sum(case, data[1].shape[1])
    if inner is None:
        return
    output = case.roles.output
    assert output is not None
    count = int(np.sum(np.ptp(data[0], axis=0) > 0))
    inputs = f"{count} input{'s' if count > 1 else ''}"
    yield Sighting(
        node=case.home(inner),
        message=f"no weighted sum of the {inputs} explains the labels: R^2 {fits.linear:.2f}; with their products "
        f"{fits.products:.2f}; and {output.name} hangs on such sums alone",
        label="one weighted sum decides",
        why="g(w x + b) is the same all along w x + b = c and grows across it, whatever w is; the best w by least "
        "squares follows the labels no better than chance",
        evidence=(
            Evidence("share of the labels' variance that a weighted sum explains", f"{fits.linear:.2g}", fits.chance),
            Evidence("the same with squares and products of two inputs", f"{fits.products:.2g}", "no more than that"),
            Evidence(f"bend of {inner.name} as a function of the inputs", "0", "not 0, with a hidden layer"),
        ),
        fix="a hidden layer of at least two units with a bend, such as tanh",
    )


# -- the labels --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fits:
    """How much of the labels' variance is explained: R^2 (at most 1), of products adjusted for their number."""

    linear: float
    products: float
    chance: str


def _fits(inputs: Array, labels: Array) -> _Fits | None:
    """How weighted sums and products explain the labels; None unless the first do not and the second do."""
    count = len(labels)
    spread = float(np.sum((labels - labels.mean(axis=0)) ** 2))
    if spread == 0:
        return None
    linear, used = _explained(inputs, labels, spread)
    mean, deviation = _by_chance(used, count)
    if linear > max(EXACT, mean + LINEAR_DEVIATIONS * deviation if count >= ENOUGH else 0.0):
        return None
    products, many = _explained(_with_products(inputs), labels, spread)
    if linear <= EXACT and products >= 1 - EXACT:
        return _Fits(abs(linear), products, "not 0")
    if count < ENOUGH or count - 1 - many < BEYOND:
        return None
    mean_of_products, deviation_of_products = _by_chance(many, count)
    adjusted = 1 - (1 - products) * (count - 1) / (count - 1 - many)
    if adjusted < EXPLAINED or products < mean_of_products + PRODUCT_DEVIATIONS * deviation_of_products:
        return None
    return _Fits(linear, adjusted, f"above {mean + LINEAR_DEVIATIONS * deviation:.2g}, which is chance")


def _explained(inputs: Array, labels: Array, spread: float) -> tuple[float, int]:
    """Share of the variance of the labels that least squares explains, and by how many independent columns."""
    centred = inputs - inputs.mean(axis=0)
    size = np.abs(centred).max(axis=0)
    centred = centred[:, size > 0] / size[size > 0]
    wanted = labels - labels.mean(axis=0)
    if not centred.size:
        return 0.0, 0
    weights, _, rank, _ = np.linalg.lstsq(centred, wanted, rcond=1e-9)
    left = float(np.sum((wanted - centred @ weights) ** 2))
    return 1 - left / spread, int(rank)


def _by_chance(used: int, count: int) -> tuple[float, float]:
    """Mean and standard deviation of R^2 for labels that know nothing of the inputs: a beta distribution."""
    free = count - 1
    if used >= free:
        return 1.0, 0.0
    return used / free, float(np.sqrt(2 * used * (free - used) / (free**2 * (free + 2))))


def _with_products(inputs: Array) -> Array:
    """The inputs, their squares and the products of two of them."""
    centred = inputs - inputs.mean(axis=0)
    first, second = np.triu_indices(inputs.shape[1])
    return np.concatenate([centred, centred[:, first] * centred[:, second]], axis=1)


def _is_separable(inputs: Array, labels: Array) -> bool:
    """Whether a perceptron finds weights with which the largest of the sums is right for every sample."""
    levels = np.unique(labels)
    if levels.size != 2:
        return False
    ends = labels > levels.mean()
    ends = np.concatenate([~ends, ends], axis=1) if ends.shape[1] == 1 else ends
    if not np.all(ends.sum(axis=1) == 1):
        return False
    truth = ends.argmax(axis=1)
    scaled = (inputs - inputs.mean(axis=0)) / np.where(inputs.std(axis=0) > 0, inputs.std(axis=0), 1.0)
    samples = np.concatenate([scaled, np.ones((len(inputs), 1))], axis=1)
    weights = np.zeros((samples.shape[1], ends.shape[1]))
    for _ in range(PASSES):
        said = (samples @ weights).argmax(axis=1)
        wrong = np.flatnonzero(said != truth)
        if not wrong.size:
            return True
        for i in wrong:
            now = int((samples[i] @ weights).argmax())
            if now != truth[i]:
                weights[:, truth[i]] += samples[i]
                weights[:, now] -= samples[i]
    return False


# -- the data ----------------------------------------------------------------------------------------------


def _data(case: Case) -> tuple[Array, Array] | None:
    """Inputs and labels of the training, a sample a row; None where they are no such table, or too wide."""
    roles, output = case.roles, case.roles.output
    if output is None or len(roles.meetings) != 1:
        return None
    axis, batch = case.axes.input_samples, _table(case.trace.value(roles.batch.birth))
    width = 0 if batch is None else batch.size if axis is None else batch.size // max(1, batch.shape[axis])
    if batch is None or batch.ndim > 2 or not 0 < width <= MOST_INPUTS:
        return None
    if axis is not None and case.axes.output_samples is not None:
        rows = batch.reshape(-1, 1) if batch.ndim == 1 else batch if axis == 0 else batch.T
        target = case.judgement.target
        labels = None if target is None else _rows(target, case.axes.output_samples, len(rows))
        whole = _whole(case, rows, axis)
        if whole is not None and whole[1].shape[0] > len(rows):
            rows, labels = whole
    elif axis is not None:
        return None
    else:
        pairs = _whole(case, batch.reshape(1, -1), 0) or _one_by_one(case)
        if pairs is None:
            return None
        rows, labels = pairs
    if labels is None or len(labels) != len(rows) or len(rows) < FEWEST:
        return None
    step = -(-len(rows) // MOST_SAMPLES)
    rows, labels = rows[::step], labels[::step]
    return (rows, labels) if np.all(np.isfinite(rows)) and np.all(np.isfinite(labels)) else None


def _table(value: Any) -> Array | None:
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return None
    return array.astype(np.float64) if array.dtype.kind in "fiub" else None


def _rows(labels: Array, axis: int, count: int) -> Array | None:
    array = np.asarray(labels, np.float64)
    if array.ndim == 1:
        return array.reshape(-1, 1) if array.size == count else None
    if array.ndim != 2 or array.shape[axis] != count:
        return None
    return array if axis == 0 else array.T


def _whole(case: Case, rows: Array, axis: int) -> tuple[Array, Array] | None:
    """All inputs and labels of the program, where the batch is a part of them."""
    output = case.roles.output
    assert output is not None
    values = _table(case.trace.value(case.roles.inputs[0].birth))
    labels = _table(case.trace.value(case.roles.labels[0].birth))
    if values is None or labels is None or values.ndim != 2 or not labels.ndim:
        return None
    values = values if axis == 0 else values.T
    same = values.shape[1] == rows.shape[1] and len(values) >= len(rows)
    if not same or not np.any(np.all(np.isclose(values, rows[0]), axis=1)):
        return None
    units = max(1, int(np.prod(output.shape)) // (1 if case.axes.output_samples is None else case.samples))
    made = as_target(labels, (len(values), units))
    return None if made is None else (values, np.asarray(made, np.float64))


def _one_by_one(case: Case) -> tuple[Array, Array] | None:
    """Inputs and labels of programs that take a sample a turn, as far as they were seen; each pair once."""
    sites = case.roles.batch.birth[0], case.roles.labels[0].birth[0]
    inputs, labels = ([_table(e.value) for e in case.trace.at(site)] for site in sites)
    if abs(len(inputs) - len(labels)) > 1 or not inputs or not labels:
        return None
    pairs = [np.append(x.ravel(), t.ravel()) for x, t in zip(inputs, labels, strict=False) if x is not None is not t]
    if len({len(pair) for pair in pairs}) != 1 or inputs[0] is None:
        return None
    table = np.unique(np.stack(pairs), axis=0)
    return table[:, : inputs[0].size], table[:, inputs[0].size :]


# -- the network -------------------------------------------------------------------------------------------


def _weighted_sum(case: Case, classes: int) -> Quantity | None:
    """The value that is linear in the inputs, and that the output is a growing function of; None if there is none."""
    output, batch = case.roles.output, case.roles.batch
    assert output is not None
    candidates = [
        q
        for q in case.judgement.forward
        if q.index <= output.index and (_sizes(q.shape) == _sizes(output.shape) or _is_single(case, q, classes))
    ]
    if not candidates:
        return None
    shape = np.shape(case.value(batch))
    seen = _Points(case, candidates, output)
    rng = np.random.default_rng(5)
    first, second = rng.normal(size=shape), rng.normal(size=shape)
    corners = [seen.at(v) for v in (np.zeros(shape), first, second, first + second)]
    straight = [q for q in candidates if _superposes([corner.get(q.object) for corner in corners])]
    if not straight:
        return None
    rounds = -(-POINTS // case.samples) if case.axes.input_samples is not None else POINTS
    points = [seen.at(scale * rng.normal(size=shape)) for scale in SCALES for _ in range(rounds)]
    for quantity in straight:
        sums = [point.get(quantity.object) for point in points]
        answers = [point.get(output.object) for point in points]
        if all(v is not None for v in (*sums, *answers)) and _grows(case, sums, answers):
            return quantity
    return None


def _sizes(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n > 1)


def _is_single(case: Case, quantity: Quantity, classes: int) -> bool:
    """Whether a value has one number a sample."""
    count = case.samples if case.axes.output_samples is not None else 1
    return classes <= 2 and int(np.prod(quantity.shape)) == count


class _Points:
    """The values of some quantities for other inputs."""

    def __init__(self, case: Case, candidates: list[Quantity], output: Quantity) -> None:
        self._case = case
        self._quantities = [*candidates, output]

    def at(self, inputs: Array) -> dict[int, Array | None]:
        """The values by object, for these inputs."""
        case = self._case
        keep = frozenset(q.birth for q in self._quantities)
        last = max(q.index for q in self._quantities)
        trace = case.measured({case.roles.batch.birth: always(inputs)}, keep, last)
        return {q.object: trace.value(q.birth) for q in self._quantities}


def _superposes(corners: list[Any]) -> bool:
    """Whether f(a) + f(b) = f(a + b) + f(0), and f is not the same everywhere."""
    if any(corner is None for corner in corners):
        return False
    zero, first, second, both = (np.asarray(corner, np.float64) for corner in corners)
    if not zero.shape == first.shape == second.shape == both.shape:
        return False
    size = float(np.abs(both - zero).max())
    return bool(size > 0 and np.abs(first + second - both - zero).max() <= ROUNDING * size)


def _grows(case: Case, sums: list[Any], answers: list[Any]) -> bool:
    """Whether each answer is a growing or falling function of one sum, or all are the softmax of the sums."""
    axis = case.axes.output_samples
    z, p = (_by_sample(values, axis, case.samples) for values in (sums, answers))
    if z is None or p is None or len(z) != len(p) or len(z) < POINTS:
        return False
    if z.shape == p.shape and z.shape[1] > 1 and np.allclose(p.sum(axis=1), 1):
        sure = p.min(axis=1) > 1e-12
        rest = np.log(p[sure]) - z[sure]
        return bool(sure.sum() >= FEWEST and np.ptp(rest, axis=1).max() <= 1e-6 * np.ptp(z[sure]))
    pairs = ((z[:, k if z.shape[1] > 1 else 0], p[:, k]) for k in range(p.shape[1]))
    return z.shape[1] in (1, p.shape[1]) and all(_is_monotone(one, other) for one, other in pairs)


def _by_sample(values: list[Any], axis: int | None, samples: int) -> Array | None:
    """Values of all points as one array, a sample a row."""
    arrays = [np.asarray(value, np.float64) for value in values]
    if axis is None:
        return np.stack([array.ravel() for array in arrays])
    rows = [array.reshape(-1, 1) if array.size == samples else _rows(array, axis, samples) for array in arrays]
    found = [row for row in rows if row is not None]
    return np.concatenate(found) if len(found) == len(rows) else None


def _is_monotone(sums: Array, answers: Array) -> bool:
    rise = np.diff(answers[np.argsort(sums, kind="stable")])
    noise = 1e-9 * float(np.ptp(answers))
    return bool(np.ptp(answers) > 0 and (rise.min() >= -noise or rise.max() <= noise))
