"""BD113 norm-statistics-wrong-axis: values are normalised with statistics that are not theirs.

What it does
------------
Finds normalisations, ``(x - mean) / spread``, whose statistics cannot be
meant: taken over two different axes, laid along another axis than the one
they belong to, or kept for samples to come although there is one for each
sample.

Why it is wrong
---------------
N samples in rows, D features. Over axis 0 each feature gets mean 0 and
variance 1 (standardised data, batch norm), over axis 1 each sample (pictures
one by one, layer norm). Both are right, a mixture is neither: what has mean 0
over the samples,

    sum over i of (x[i, j] - mean[j]) = 0

has another mean once its entries are divided by spread[i]. In a square array
statistics of shape (N,) fit along either axis, and without keepdims those of
row i go to column i. And row i of the next batch is another sample: what is
kept for it has to be one number a feature.

Example (samples first)
-----------------------
The mean is taken over the samples, the spread over the features::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 20)) * rng.uniform(0.5, 4, size=20) + 3
    Y = np.eye(3)[(X @ rng.normal(size=(20, 3))).argmax(axis=1)]
    X = (X - X.mean(axis=0)) / X.std(axis=1, keepdims=True)
    W, b = 0.1 * rng.normal(size=(20, 3)), np.zeros((1, 3))
    for step in range(20):
        Z = X @ W + b
        E = np.exp(Z - Z.max(axis=1, keepdims=True))
        A = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / len(X)
        dZ = (A - Y) / len(X)
        W = W - 0.5 * X.T @ dZ
        b = b - 0.5 * dZ.sum(axis=0, keepdims=True)
        print(step, loss)

Example (features first)
------------------------
The same with samples in columns::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 120)) * rng.uniform(0.5, 4, size=(20, 1)) + 3
    Y = np.eye(3)[(rng.normal(size=(3, 20)) @ X).argmax(axis=0)].T
    X = (X - X.mean(axis=1, keepdims=True)) / X.std(axis=0)
    W, b = 0.1 * rng.normal(size=(3, 20)), np.zeros((3, 1))
    for step in range(20):
        Z = W @ X + b
        E = np.exp(Z - Z.max(axis=0, keepdims=True))
        A = E / E.sum(axis=0, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / X.shape[1]
        dZ = (A - Y) / X.shape[1]
        W = W - 0.5 * dZ @ X.T
        b = b - 0.5 * dZ.sum(axis=1, keepdims=True)
        print(step, loss)

Use instead (samples first)
---------------------------
Both over the samples::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 20)) * rng.uniform(0.5, 4, size=20) + 3
    Y = np.eye(3)[(X @ rng.normal(size=(20, 3))).argmax(axis=1)]
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    W, b = 0.1 * rng.normal(size=(20, 3)), np.zeros((1, 3))
    for step in range(20):
        Z = X @ W + b
        E = np.exp(Z - Z.max(axis=1, keepdims=True))
        A = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / len(X)
        dZ = (A - Y) / len(X)
        W = W - 0.5 * X.T @ dZ
        b = b - 0.5 * dZ.sum(axis=0, keepdims=True)
        print(step, loss)

Use instead (features first)
----------------------------
Both over the samples::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 120)) * rng.uniform(0.5, 4, size=(20, 1)) + 3
    Y = np.eye(3)[(rng.normal(size=(3, 20)) @ X).argmax(axis=0)].T
    X = (X - X.mean(axis=1, keepdims=True)) / X.std(axis=1, keepdims=True)
    W, b = 0.1 * rng.normal(size=(3, 20)), np.zeros((3, 1))
    for step in range(20):
        Z = W @ X + b
        E = np.exp(Z - Z.max(axis=0, keepdims=True))
        A = E / E.sum(axis=0, keepdims=True)
        loss = -np.sum(Y * np.log(A + 1e-12)) / X.shape[1]
        dZ = (A - Y) / X.shape[1]
        W = W - 0.5 * dZ @ X.T
        b = b - 0.5 * dZ.sum(axis=1, keepdims=True)
        print(step, loss)

How it is detected
------------------
By values: what is subtracted from an array is its mean over some axes, and
what the difference is divided by is a root of its variance over some axes, a
small number added or not. The rule fires if

- neither choice of axes is part of the other: an error where the quotient
  has mean 0 and variance 1 along neither to within 0.1, else a warning, and
  a warning where centring and scaling are steps of their own;
- the numbers are those of a mean or a spread, and broadcasting lays them
  along an axis for which they are no statistic at all;
- an array that follows a mean from step to step, and is subtracted from
  other values, has numbers that move with one sample each, or has grown from
  the shape it was made in;
- a mean is subtracted from other data than it was taken of, and a change of
  one slice of that data moves one sample of the output alone.

Fix safety
----------
The axis of the other statistic or of the samples is written, or keepdims=True
added; where the backward pass sums over one of two axes only, that one is
meant. The changed program is examined again from another seed, and the fix is
called verified only if the finding is gone and no error is new. Where the
array that is kept was made with one number a sample no edit is proposed.

Known limits
------------
- One axis for both is never called wrong: batch norm and layer norm look
  alike. Nor is one choice of axes within the other, as a mean image and one
  spread for all pixels.
- Weighted statistics, medians and minima are not recognised.
- Of programs that take one sample at a time nothing is said.

References
----------
- Ioffe and Szegedy (2015), Batch Normalization: Accelerating Deep Network
  Training by Reducing Internal Covariate Shift, algorithms 1 and 2.
- Ba, Kiros and Hinton (2016), Layer Normalization, equation 3.
- NumPy user guide, broadcasting:
  https://numpy.org/doc/stable/user/basics.broadcasting.html
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.case import Case, Reduction, Sighting, axis_edits
from backprop_doctor.loops import carried_by, loops_of
from backprop_doctor.oracles.standardisation import (
    Centring,
    Scaling,
    Statistic,
    operands_of,
    standardisations,
)
from backprop_doctor.program import Event
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.rules._lines import wrong_lines
from backprop_doctor.values import is_same

SEVERITY = "error"

Array = NDArray[np.float64]
Axes = tuple[int, ...]

NEITHER = 0.1  # how far means may be off 0, and variances off 1, and still count as normalised
TOLERANCE = 1e-8
FEWEST = 4
SLICES = 3


def examine(case: Case) -> Iterator[Sighting]:
    """Statistics laid along the wrong axis, taken over two different ones, or kept for other samples."""
    centred, scaled = case.once(standardisations)
    if not centred:
        return
    yield from _laid_wrong(case, centred, scaled)
    for scaling in scaled:
        if scaling.centring.mean.aligned and scaling.spread.aligned:
            yield from _two_axes(case, scaling)
    sound = [c for c in centred if c.mean.aligned]
    yield from _kept(case, sound, scaled)
    yield from _carried_over(case, sound, scaled)


# -- each value meets the statistics of another row ----------------------------------------------------------


def _laid_wrong(case: Case, centred: list[Centring], scaled: list[Scaling]) -> Iterator[Sighting]:
    spreads = {s.centring.event.object: s.spread for s in scaled}
    used = [(c.mean, c.whole, "mean", c.event, spreads.get(c.event.object)) for c in centred]
    used += [(s.spread, s.centring.whole, "spread", s.event, s.centring.mean) for s in scaled]
    for statistic, whole, word, event, partner in used:
        if statistic.aligned:
            continue
        shape, axes = np.shape(whole.value), statistic.axes
        # Where the other statistic lies right, both run over its axes.
        is_lone = partner is None or partner.aligned
        meant = partner.axes if partner is not None and partner.aligned else _chosen(case, shape, _others(shape, axes))
        keepdims = meant == axes or not _leads(meant)
        node, edits = _with_axes(case, statistic.event, meant, keepdims=keepdims)
        what = f"the {word}" if is_lone else "mean and spread"
        place, own, met = _worst(whole, statistic, word)
        yield Sighting(
            node=node,
            message=f"{what} of {_named(case, whole)} {case.describe(shape)} over {_over(axes)} "
            f"{'is' if is_lone else 'are'} laid along {_over(_last(shape, statistic))}: each value is normalised with "
            "the numbers of another row",
            label="has lost its axis" if np.ndim(statistic.event.value) < len(shape) else "lies along another axis",
            why=f"{np.shape(statistic.event.value)} and {shape} are lined up from the right, which fits only because "
            "the array is square",
            evidence=(
                Evidence(f"{word} that entry {place} of {_named(case, whole)} meets", f"{met:.3g}", f"{own:.3g}"),
                *_moments(event, axes, word),
            ),
            fix="keepdims=True" if meant == axes else f"axis={_plain(meant)}",
            edits=edits,
            objects=(event.object, *_spoilt(case, event)),
        )


def _last(shape: tuple[int, ...], statistic: Statistic) -> Axes:
    rank = np.ndim(statistic.event.value)
    sizes = np.shape(statistic.event.value)
    return tuple(len(shape) - rank + axis for axis, size in enumerate(sizes) if size > 1)


def _worst(whole: Event, statistic: Statistic, word: str) -> tuple[tuple[int, ...], float, float]:
    """The entry that meets the most foreign number: which it is, the number it should meet, the one it meets."""
    array = np.asarray(whole.value, np.float64)
    met = np.broadcast_to(np.asarray(statistic.event.value, np.float64), array.shape)
    own = array.mean(axis=statistic.axes, keepdims=True)
    if word == "spread":
        own = np.reshape(statistic.event.value, own.shape)
    own = np.broadcast_to(own, array.shape)
    place = np.unravel_index(int(np.argmax(np.abs(met - own))), array.shape)
    return tuple(int(i) for i in place), float(own[place]), float(met[place])


def _moments(event: Event, axes: Axes, word: str) -> tuple[Evidence, ...]:
    array = np.asarray(event.value, np.float64)
    means, variances = array.mean(axis=axes), array.var(axis=axes)
    mean = Evidence(f"means of what comes out, over {_over(axes)}", _range(means), "0")
    return (mean,) if word == "mean" else (mean, Evidence("its variances", _range(variances), "1"))


def _range(values: Array) -> str:
    return f"{float(values.min()):.3g} to {float(values.max()):.3g}"


# -- mean and spread over different axes ---------------------------------------------------------------------


def _two_axes(case: Case, scaling: Scaling) -> Iterator[Sighting]:
    """A mean over one choice of axes and a spread over another, neither part of the other."""
    mean, spread = scaling.centring.mean, scaling.spread
    if set(mean.axes) <= set(spread.axes) or set(spread.axes) <= set(mean.axes):
        return
    whole, shape = scaling.centring.whole, np.shape(scaling.event.value)
    in_two_steps = spread.of == "difference"
    if spread.of == "squares" and not _is_one_formula(case, scaling):
        return
    off = min(_distance(scaling.event, mean.axes), _distance(scaling.event, spread.axes))
    wanted = _chosen(case, shape, [mean.axes, spread.axes])
    wrong, word, other = (spread, "spread", "mean") if wanted == mean.axes else (mean, "mean", "spread")
    node, edits = _with_axes(case, wrong.event, wanted, keepdims=not _leads(wanted))
    made = _named(case, scaling.event)
    yield Sighting(
        node=node,
        message=f"{_named(case, whole)} {case.describe(shape)} loses its mean over {_over(mean.axes)} and is divided "
        f"by a spread over {_over(spread.axes)}: {made} is normalised along neither",
        label=f"{word} over {_over(wrong.axes)}, {other} over {_over(wanted)}",
        why=f"each slice along {_over(mean.axes)} has mean 0 only until its entries are divided by different numbers",
        evidence=tuple(
            Evidence(f"{moment} of {made} over {_over(axes)}", _range(numbers), f"{right}, if that is meant")
            for axes in (mean.axes, spread.axes)
            for moment, numbers, right in _both(scaling.event, axes)
        ),
        fix=f"axis={_plain(wanted)}, as for the {other}",
        edits=edits,
        severity="error" if off > NEITHER and not in_two_steps else "warning",
        objects=(scaling.event.object, *_spoilt(case, scaling.event)),
    )


def _both(event: Event, axes: Axes) -> list[tuple[str, Array, int]]:
    array = np.asarray(event.value, np.float64)
    return [("means", array.mean(axis=axes), 0), ("variances", array.var(axis=axes), 1)]


def _distance(event: Event, axes: Axes) -> float:
    """How far the worst slice is from mean 0 and variance 1; slices in which nothing varies do not count."""
    array = np.asarray(event.value, np.float64)
    means, variances = array.mean(axis=axes), array.var(axis=axes)
    varying = variances > 1e-12
    if not varying.any():
        return 0.0
    return float(max(np.abs(means[varying]).max(), np.abs(variances[varying] - 1).max()))


def _is_one_formula(case: Case, scaling: Scaling) -> bool:
    """Whether centring and scaling are parts of one formula of the network, and not one step after the other.

    ``x = x - mean`` stands for itself: to scale each sample of it to size 1 is another normalisation.
    """
    centred, whole = scaling.centring.event, scaling.centring.whole
    sites = case.program.sites
    bound = case.binding.get(centred.object)
    read = case.text(sites[whole.site].node)
    is_step = sites[centred.site].kind == "store" or (bound is not None and bound.target == read)
    return not is_step and sites[centred.site].scope == sites[scaling.event.site].scope


def _others(shape: tuple[int, ...], axes: Axes) -> list[Axes]:
    """The axes given, and those that would leave a statistic of the same size."""
    if len(shape) != 2 or len(axes) != 1:
        return [axes]
    return [axes, (1 - axes[0],)]


def _chosen(case: Case, shape: tuple[int, ...], options: list[Axes]) -> Axes:
    """Which of some axes are meant: those the backward pass sums over, the first if that does not tell.

    The gradients of parameters are sums over the samples in any case.
    """
    backward = [e for e in case.step_events if case.roles.backward(e)]
    summed = {r.axes for r in case.reductions(backward) if np.shape(r.operand.value) == shape}
    meant = [axes for axes in options if axes in summed]
    if len(meant) > 1 and case.axes.output_samples is not None:
        meant = [axes for axes in meant if axes != (case.axes.output_samples,)]
    return meant[0] if len(meant) == 1 else options[0]


# -- statistics of these samples, kept for others ------------------------------------------------------------


@dataclass(frozen=True)
class _Buffer:
    """An array that each step moves towards the statistics of its batch."""

    before: Event
    after: Event


def _kept(case: Case, centred: list[Centring], scaled: list[Scaling]) -> Iterator[Sighting]:
    """Running means with one number a sample, or that grow to the shape of a mean over other axes."""
    start, middle = case.roles.step.start, case.roles.step.middle
    inside = [c for c in centred if start <= c.event.index < middle]
    if not inside:
        return
    for centring in inside:
        found = (_kept_wrong(case, centring, buffer, scaled) for buffer in _buffers(case, centring.mean.event))
        yield from [sighting for sighting in found if sighting is not None][:1]


def _buffers(case: Case, mean: Event) -> Iterator[_Buffer]:
    """What follows a mean from step to step, the second step looked at where it is made in the first."""
    trace = case.trace
    turns = next((turns for turns in loops_of(trace) if turns.starts[0] == case.roles.step.start), None)
    for iteration in [case.roles.step] if turns is None else turns.iterations:
        means = [e for e in trace.at(mean.site) if iteration.start <= e.index < iteration.middle]
        carried = carried_by(case.program, trace, iteration)
        for number, later in carried.items():
            buffer = _Buffer(trace.first_seen[number], later)
            before, after = np.size(buffer.before.value), np.size(later.value)
            fits = after >= FEWEST and (after == np.size(mean.value) or after > before > 1)
            if fits and before > 1 and any(_follows(buffer, one) for one in means):
                yield buffer


def _kept_wrong(case: Case, centring: Centring, buffer: _Buffer, scaled: list[Scaling]) -> Sighting | None:
    mean, whole = centring.mean, centring.whole
    declared, kept = np.shape(buffer.before.value), np.shape(buffer.after.value)
    grown = int(np.prod(kept)) > int(np.prod(declared))
    used = _is_used(case, buffer, np.size(mean.event.value))
    if not grown and not (used and _is_one_a_sample(case, mean.event)):
        return None
    name = _named(case, buffer.before)
    axes = _sample_axes(case, whole, declared if grown else ())
    edits: tuple[Edit, ...] = ()
    node, own = _with_axes(case, mean.event, axes or mean.axes, keepdims=_keeps(mean, whole))
    if axes and grown:
        edits = (*own, *_alike(case, scaled, centring, axes))
    shapes = f"the mean of {_named(case, whole)} {case.describe(np.shape(whole.value))} over {_over(mean.axes)}"
    if grown:
        message = f"{name} is made {case.describe(declared)}, and {shapes} stretches it to {case.describe(kept)}"
        evidence = Evidence(f"shape of {name} after one step", case.describe(kept), case.describe(declared))
    else:
        message = f"{name} {case.describe(kept)} keeps {shapes}: one number for each sample, for samples to come"
        evidence = Evidence("numbers of the mean that move with sample 0", "the first alone", "all")
    return Sighting(
        node=node,
        message=message,
        label=f"mean over {_over(mean.axes)}",
        why="what is kept for other samples has to be taken over the samples: row i of the next batch is another one",
        evidence=(evidence,),
        fix=f"axis={_plain(axes)}" if axes else "statistics over the samples, one number a feature",
        edits=edits,
        severity="error" if used else "warning",
        objects=(buffer.after.object, *(_spoilt(case, whole) if grown else ())),
    )


def _follows(buffer: _Buffer, mean: Event) -> bool:
    """Whether a buffer has moved to a multiple of itself and a multiple of the mean."""
    after = np.asarray(buffer.after.value, np.float64)
    try:
        parts = [np.broadcast_to(np.asarray(e.value, np.float64), after.shape) for e in (buffer.before, mean)]
    except ValueError:
        return False
    if not all(np.all(np.isfinite(part)) for part in (after, *parts)) or np.ptp(parts[1]) == 0:
        return False
    columns = np.stack([part.ravel() for part in parts], axis=1)
    shares = np.linalg.lstsq(columns, after.ravel(), rcond=None)[0]
    left = np.abs(columns @ shares - after.ravel()).max()
    return bool(left <= TOLERANCE * np.abs(after).max() and abs(shares[1]) > TOLERANCE)


def _is_used(case: Case, buffer: _Buffer, size: int) -> bool:
    """Whether something with more numbers than a mean is centred by a buffer, whether or not that goes well."""
    trace = case.short
    site = case.trace.first_seen[buffer.after.object].site
    own = {e.object for e in trace.at(site)}
    for event in trace.events:
        if event.object not in own:
            continue
        above = case.program.sites[event.site].parent
        node = None if above is None else case.program.sites[above].node
        if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Sub):
            continue
        if node.right is case.program.sites[event.site].node:
            assert above is not None
            sides = trace.operands(event, case.program.sites[above].children)
            other = next((e for e in sides if case.program.sites[e.site].node is node.left), None)
            if other is not None and np.size(other.value) > size:
                return True
    return False


def _is_one_a_sample(case: Case, event: Event) -> bool:
    """Whether each number of a value moves with one sample of the batch alone."""
    axis, batch = case.axes.input_samples, case.roles.batch
    before = case.value(event.key)
    if axis is None or event.index < batch.index or not FEWEST <= case.samples == np.size(before):
        return False
    places = set[int]()
    for sample in range(SLICES):
        after = case.changed({batch.birth: _moved(axis, sample)}, event.key)
        if np.shape(after) != np.shape(before):
            return False
        moved = np.flatnonzero(np.ravel(after) != np.ravel(before))
        if moved.size != 1:
            return False
        places.add(int(moved[0]))
    return len(places) == SLICES


class _moved:
    """Moves one slice of an array, each entry by another number."""

    def __init__(self, axis: int, slice_: int) -> None:
        self._axis, self._slice = axis, slice_

    def __call__(self, value: Any) -> Any:
        moved = np.array(value, np.float64)
        where = (slice(None),) * self._axis + (self._slice,)
        part = moved[where]
        moved[where] = part + np.cos(np.arange(part.size)).reshape(part.shape) * (np.abs(moved).max() or 1.0)
        return moved


def _sample_axes(case: Case, whole: Event, declared: tuple[int, ...]) -> Axes:
    """The axes to take statistics over, for them to have a declared shape, or else the axis of the samples."""
    shape = np.shape(whole.value)
    if declared:
        if len(declared) == len(shape):
            return tuple(axis for axis, n in enumerate(declared) if n == 1 < shape[axis])
        wide = [n for n in declared if n > 1]
        left = [axis for axis, n in enumerate(shape) if [n] == wide]
        return tuple(axis for axis in range(len(shape)) if axis not in left) if len(left) == 1 else ()
    axis = case.axes.output_samples
    return (axis,) if axis is not None and len(shape) == 2 and shape[axis] == case.samples else ()


# -- statistics of the training samples, used on others ------------------------------------------------------


def _carried_over(case: Case, centred: list[Centring], scaled: list[Scaling]) -> Iterator[Sighting]:
    """Means with one number for each sample they were taken of, subtracted from other samples."""
    trace = case.short
    for centring in centred:
        mean, whole = centring.mean, centring.whole
        if centring.event.index >= case.roles.step.start or len(mean.axes) != 1 or np.ndim(whole.value) != 2:
            continue
        number = getattr(trace.by_key.get(mean.event.key), "object", None)
        birth = case.trace.first_seen[whole.object]
        others = (
            (e, left)
            for e, left, right in operands_of(case, trace, trace.events, ast.Sub)
            if right is not None and right.object == number and e.key != centring.event.key
        )
        for event, other in others:
            if np.shape(other.value) == np.shape(whole.value) and np.array_equal(other.value, whole.value):
                continue
            if not _is_by_sample(case, birth, 1 - mean.axes[0]) or _hangs_on(case, other, birth):
                break
            axes = (1 - mean.axes[0],)
            node, edits = _with_axes(case, mean.event, axes, keepdims=_keeps(mean, whole))
            edits += _alike(case, scaled, centring, axes)
            yield Sighting(
                node=node,
                message=f"{case.text(node)} has one number for each sample of {_named(case, whole)}, and is subtracted "
                f"from other samples in {case.text(case.program.sites[event.site].node)}",
                label="one number for each sample",
                why="what is kept for other samples has to be taken over the samples: row i of them is another one",
                evidence=(
                    Evidence(f"samples of the output that move with the first of {_named(case, whole)}", "1", "all"),
                ),
                fix=f"axis={_plain(axes)}",
                edits=edits,
                objects=(centring.event.object,),
            )
            break


def _alike(case: Case, scaled: list[Scaling], centring: Centring, axes: Axes) -> tuple[Edit, ...]:
    """The edits that let the spreads that belong to a mean run over other axes too."""
    own = [s.spread for s in scaled if s.centring.event.object == centring.event.object]
    made = [_with_axes(case, s.event, axes, keepdims=_keeps(s, centring.whole))[1] for s in own]
    return tuple(edit for edits in made for edit in edits)


def _hangs_on(case: Case, other: Event, whole: Event) -> bool:
    """Whether an array is made of another one: a noisy copy has the same samples."""
    moved = {whole.key: lambda value: np.asarray(value, np.float64) * 1.01 + 0.01}
    trace = case.run(moved, keep=frozenset({other.key}), turns=case.cut, limit=case.short_limit)
    return not is_same(trace.value(other.key), other.value)


def _is_by_sample(case: Case, whole: Event, axis: int) -> bool:
    """Whether slices of data are samples: one of them moves one sample of the output alone."""
    output, samples = case.roles.output, case.axes.output_samples
    if output is None or samples is None:
        return False
    before = case.value(output)
    for number in range(min(4 * SLICES, np.shape(whole.value)[axis])):
        after = case.changed({whole.key: _moved(axis, number)}, output.birth)
        if np.shape(after) != np.shape(before):
            return False
        change = np.abs(after - before).sum(axis=tuple(a for a in range(np.ndim(after)) if a != samples))
        if np.any(change):
            return bool(np.count_nonzero(change) == 1 < change.size)
    return False


# -- small things ----------------------------------------------------------------------------------------


def _with_axes(case: Case, event: Event, axes: Axes, *, keepdims: bool) -> tuple[ast.AST, tuple[Edit, ...]]:
    """The reduction that makes a statistic, and the edits that let it run over some axes."""
    reduction = _reduction(case, event)
    if reduction is None:
        return case.program.sites[event.site].node, ()
    return reduction.node, axis_edits(case, reduction.node, axes[0] if len(axes) == 1 else axes, keepdims=keepdims)


def _reduction(case: Case, event: Event) -> Reduction | None:
    """The call that reduced an array to a statistic, behind roots, quotients and small numbers added."""
    pending, seen = [event], set[int]()
    while pending:
        birth = case.trace.first_seen[pending.pop().object]
        if birth.object in seen:
            continue
        seen.add(birth.object)
        found = next(case.reductions([birth]), None)
        if found is not None:
            return found
        pending += [e for e in case.children(birth) if np.size(e.value) == np.size(event.value) and e.object != -1]
    return None


def _keeps(statistic: Statistic, whole: Event) -> bool:
    """Whether a statistic has kept the axes it was taken over."""
    return np.ndim(statistic.event.value) == np.ndim(whole.value)


def _leads(axes: Axes) -> bool:
    """Whether what is left of an array without these axes lines up by itself."""
    return axes == tuple(range(len(axes)))


def _spoilt(case: Case, event: Event) -> tuple[int, ...]:
    """Wrong values of the backward pass: what they are the gradient of is not what was meant."""
    return tuple(line.value.object for line in case.once(wrong_lines)) if _is_forward(case, event) else ()


def _is_forward(case: Case, event: Event) -> bool:
    return bool(case.roles.on_parameters[event.index])


def _named(case: Case, event: Event) -> str:
    return case.roles.names.get(event.object) or case.text(case.program.sites[event.site].node)


def _over(axes: Axes) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes[:-1]))} and {axes[-1]}"


def _plain(axes: Axes) -> str:
    return str(axes[0]) if len(axes) == 1 else str(axes)
