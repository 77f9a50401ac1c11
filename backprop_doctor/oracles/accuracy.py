"""What does the accuracy the program reports say of predictors whose accuracy is known?

The output is replaced, on its way to the metric, by predictions that are all right, all wrong, or right
for chosen samples only.  A number that stays still under tiny changes of the output and moves under
these is a metric; a true accuracy is proportional to the share of right samples.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.adjoints import as_target
from backprop_doctor.case import SHORT_TURNS, Case
from backprop_doctor.program import Event, Key, Trace
from backprop_doctor.roles import Quantity, is_same

__all__ = ["Accuracy", "ArgMax", "argmaxes", "counter_names", "examine_accuracy", "loops_over"]

Array = NDArray[np.float64]
Right = Callable[[int], NDArray[np.bool_]]


@dataclass(frozen=True)
class Accuracy:
    """The metric of a program.

    ``perfect`` are its values, one after the other, when every prediction is right; ``unit`` is its value
    for an accuracy of 1 (1, 100, or the number of samples), None if it is no multiple of the accuracy;
    ``looked_at`` the number of samples that count; ``reported`` and ``recomputed`` are fractions for the
    unchanged program's first turn; ``trained_on`` tells that it scores the training step's own output and
    that no other set is scored anywhere, even after training.  ``wrong`` and ``half`` are its values when no
    prediction is right and when those of the first half are; ``score`` tells it for any choice, and
    ``predict`` runs with any labels in place of the true ones of a set of that size; ``traces`` are the runs
    with all, half and none of the predictions right; ``sets`` the sizes of the sets that pass the network.
    """

    quantity: Quantity
    event: Event
    perfect: tuple[float, ...]
    unit: float | None
    samples: int
    looked_at: int
    reported: float | None
    recomputed: float | None
    chain: tuple[Event, ...] = field(repr=False)
    trained_on: bool
    starts_low: bool
    wrong: float | None
    half: float | None
    score: Callable[[Right], float | None] = field(repr=False)
    predict: Callable[[Array], Trace | None] = field(repr=False)
    traces: tuple[Trace, Trace, Trace] = field(repr=False)
    sets: tuple[int, ...]


def examine_accuracy(case: Case) -> Accuracy | None:
    """Find the metric and put it to the test; None where the program has none that can be followed."""
    output, target, axis = case.roles.output, case.judgement.target, case.axes.output_samples
    if output is None or target is None or axis is None or target.ndim != 2 or target.shape[1 - axis] < 2:
        return None
    if not np.allclose(target.sum(axis=1 - axis), 1) or set(np.unique(target)) - {0.0, 1.0}:
        return None
    short = case.short
    scores = [e for e in short.events if e.site == output.birth[0]]
    scores += [a.operand for a in argmaxes(case, short) if _is_score(a.operand, short, scores)]
    targets = _targets(case, short, target, {np.shape(e.value) for e in scores})
    keys = [e.key for e in scores if np.shape(e.value) in targets]

    # Predictions reach the metric themselves, not by what they do to the weights.
    held = _held(case, short)

    def outcome(right: Right, keys: list[Key] = keys, wanted: Key | None = None) -> Trace:
        def predict(value: Any) -> Any:
            known = targets.get(np.shape(value))
            return value if known is None else predictions(known, right(known.shape[axis]), axis)

        return case.run(
            {**held, **dict.fromkeys(keys, predict)},
            turns={case.roles.training.loop: SHORT_TURNS},
            limit=case.short_limit,
            keep=None if wanted is None else frozenset({wanted}),
            brief=wanted is not None,
        )

    # What is alike stays alike: where all units are dead, all classes tie.
    def nudge(value: Any) -> Any:
        return value + 1e-9 * np.cos(value)

    perfect = outcome(_all)
    none = outcome(_none)
    still = case.run(
        {**held, **dict.fromkeys(keys, nudge)}, turns={case.roles.training.loop: SHORT_TURNS}, limit=case.short_limit
    )
    half = outcome(lambda m: np.arange(m) < m // 2)
    candidates = _candidates(case, short, (perfect, none, half), still)
    if not candidates:
        return None

    def predict_labels(labels: Array) -> Trace | None:
        own = targets.get(labels.shape)
        if own is None:
            return None
        targets[labels.shape] = labels
        try:
            return outcome(_all)
        finally:
            targets[labels.shape] = own

    counts = {known.shape[axis] for known in targets.values()}

    def unit_of(event: Event) -> tuple[float, int] | None:
        a, b, c = (_number(t.value(event.key)) for t in (perfect, none, half))
        if a is None or b is None or c is None or a <= 0 or b != 0:
            return None
        for n in counts:
            if abs(c - a * (n // 2) / n) < 1e-9 * a and any(abs(a / u - 1) < 1e-9 for u in (1.0, 100.0, n)):
                return a, n
        return None

    right = [e for e in candidates if unit_of(e)]
    shares = [e for e in right if (unit_of(e) or (0, 0))[0] in (1.0, 100.0) and not isinstance(e.value, int)]
    zeros = [e for e in candidates if _number(none.value(e.key)) in (0.0, None) and (_number(e.value) or 0) > 0]
    # The figure shown is the last of its chain; a count on the way to it only counts if nothing follows.
    named = [e for e in shares if (case.program.sites[e.site].target or "").isidentifier()]
    event = (named or shares or ([] if zeros and zeros[-1] not in right else right) or zeros or candidates)[-1]
    first_turn = min(e.occurrence for e in candidates if e.site == event.site)
    event = next(e for e in candidates if e.site == event.site and e.occurrence == first_turn)
    top = _number(event.value) or 0.0
    known = unit_of(event)

    def figure(right: Right, chosen: list[Key] = keys) -> Any:
        return outcome(right, chosen, event.key).value(event.key)

    n = known[1] if known else _scored(short, keys, targets, figure, top, axis)
    later = [_number(e.value) or 0.0 for e in perfect.events if e.site == event.site and np.size(e.value) == 1]
    looked = n if known else _looked_at(figure, top, n)
    shown = _number(short.value(event.key))
    unit = known[0] if known else 100.0 if top * n / max(looked, 1) > 1.5 else 1.0
    first = next((q for q in perfect.events if q.object == event.object), event)
    only_training = figure(_all, [output.birth])
    name = _name(case, perfect, event)
    return Accuracy(
        Quantity(first.object, first.key, first.index, name, case.program.sites[first.site].line, ()),
        event,
        tuple(later),
        known[0] if known else None,
        n,
        looked,
        None if shown is None else shown / unit,
        _accuracy(short.value(output.birth), target, axis) if n == target.shape[axis] else None,
        tuple(candidates),
        trained_on=_number(only_training) == top and len(targets) == 1,
        starts_low=_number(none.value(event.key)) == 0,
        wrong=_number(none.value(event.key)),
        half=_number(half.value(event.key)),
        score=lambda right: _number(figure(right)),
        predict=predict_labels,
        traces=(perfect, half, none),
        sets=tuple(sorted(counts)),
    )


@dataclass(frozen=True)
class ArgMax:
    """A call that tells where an array is largest: along which axes that fits, or in the whole of it (None)."""

    event: Event
    operand: Event
    axes: tuple[int | None, ...]


def argmaxes(case: Case, trace: Trace) -> list[ArgMax]:
    """Calls of a run, from training on, whose result says where a two-dimensional array is largest."""
    found: list[ArgMax] = []
    latest: dict[int, Event] = {}
    for event in trace.events[case.roles.training.start :]:
        if event.object == -1:
            continue
        latest[event.site] = event
        site = case.program.sites[event.site]
        if site.kind != "call" or np.asarray(event.value).dtype.kind != "i":
            continue
        for operand in (latest[c] for c in site.children if c in latest):
            if np.ndim(operand.value) != 2 or np.size(operand.value) <= np.size(event.value):
                continue
            axes = tuple(a for a in (0, 1, None) if is_same(np.argmax(operand.value, axis=a), _plain(event.value)))
            if axes:
                found.append(ArgMax(event, operand, axes))
    return found


def _plain(value: Any) -> Any:
    array = np.asarray(value)
    return array.reshape(-1) if array.size > 1 else array.reshape(())


def _is_score(event: Event, trace: Trace, known: list[Event]) -> bool:
    """Whether an array is computed after training began, is not one-hot, and is none of the scores known."""
    array = np.asarray(event.value)
    if array.dtype.kind != "f" or any(event.object == e.object for e in known):
        return False
    return bool(np.any((array != 0) & (array != 1)))


def _held(case: Case, short: Trace) -> dict[Key, Callable[[Any], Any]]:
    """Actions that give every update the value it had in the undisturbed run."""
    sites = {key[0] for parameter in case.roles.parameters for key in parameter.updates}

    def hold(before: Any) -> Callable[[Any], Any]:
        return lambda value: np.array(before)

    return {event.key: hold(event.value) for event in short.events if event.site in sites}


def _all(samples: int) -> NDArray[np.bool_]:
    return np.ones(samples, bool)


def _none(samples: int) -> NDArray[np.bool_]:
    return np.zeros(samples, bool)


def _scored(
    short: Trace,
    keys: list[Key],
    targets: dict[tuple[int, ...], Array],
    value: Callable[[Right, list[Key]], Any],
    top: float,
    axis: int,
) -> int:
    """Samples in the set that the metric is about: the one whose predictions alone make it perfect."""
    for shape, known in targets.items():
        chosen = [key for key in keys if np.shape(short.value(key)) == shape]
        if chosen and _number(value(_all, chosen)) == top and _number(value(_none, chosen)) != top:
            return int(known.shape[axis])
    return max(int(known.shape[axis]) for known in targets.values())


def _number(value: Any) -> float | None:
    return None if value is None or np.size(value) != 1 else float(np.squeeze(value))


def _name(case: Case, trace: Trace, event: Event) -> str:
    for other in trace.events:
        target = case.program.sites[other.site].target
        if other.object == event.object and target and target.isidentifier():
            return target
    return case.text(case.program.sites[event.site].node)


def predictions(target: Array, right: NDArray[np.bool_], axis: int) -> Array:
    """Confident one-hot-like outputs: the true class where ``right``, the next class elsewhere."""
    wrong = np.roll(target, 1, axis=1 - axis)
    mask = right[:, None] if axis == 0 else right[None, :]
    chosen = np.where(mask, target, wrong)
    return 0.01 + 0.9 * chosen


def _targets(case: Case, trace: Trace, target: Array, wanted: set[tuple[int, ...]]) -> dict[tuple[int, ...], Array]:
    """Known labels by the shape of the output they belong to: the training ones, and others in sight."""
    axis = case.axes.output_samples or 0
    classes = target.shape[1 - axis]
    found: dict[tuple[int, ...], Array] = {}
    if case.roles.step.loop == case.roles.training.loop:
        found[target.shape] = target
    births: set[int] = set()
    for event in trace.events:
        if event.object == -1 or event.object in births or np.ndim(event.value) not in (1, 2):
            continue
        births.add(event.object)
        for shape in {w for w in wanted if len(w) == 2 and w[axis] <= np.size(event.value)} - set(found):
            labels = as_target(event.value, shape)
            if (
                labels is not None
                and np.array_equal(labels, labels.astype(bool))
                and np.all(labels.sum(axis=1 - axis) == 1)
                and len(np.unique(np.argmax(labels, axis=1 - axis))) > min(2, classes - 1)
            ):
                found[shape] = labels
    return found


def _candidates(case: Case, short: Trace, outcomes: tuple[Trace, ...], still: Trace) -> list[Event]:
    """Numbers that differ between right and wrong predictions and not under tiny changes of the output."""
    perfect = outcomes[0]
    start = next(e.index for e in perfect.events if e.object == -1 and e.site == case.roles.training.loop)
    found = []
    for event in perfect.events[start:]:
        if event.object == -1 or np.size(event.value) != 1 or np.asarray(event.value).dtype.kind == "b":
            continue
        a = _number(event.value)
        if a is None or not np.isfinite(a) or all(_number(o.value(event.key)) == a for o in outcomes[1:]):
            continue
        # What a run did not come to because the program broke before is not another number.
        if any(o.value(event.key) is None and o.failed and o.events[-1].index < event.index for o in outcomes[1:]):
            continue
        before, after = _number(short.value(event.key)), _number(still.value(event.key))
        if before == after:
            found.append(event)
    return found


def _looked_at(figure: Callable[[Right], Any], perfect: float, n: int) -> int:
    """How many samples, from the first on, decide the metric (bisection over 'the first k are right')."""
    low, high = 1, n
    while low < high:
        middle = (low + high) // 2
        value = _number(figure(lambda m, k=middle: np.arange(m) < k))  # type: ignore[misc]
        if value is not None and abs(value - perfect) < 1e-9 * abs(perfect):
            high = middle
        else:
            low = middle + 1
    return low


def _accuracy(output: Any, target: Array, axis: int) -> float | None:
    if output is None or np.shape(output) != target.shape:
        return None
    return float(np.mean(np.argmax(output, axis=1 - axis) == np.argmax(target, axis=1 - axis)))


def counter_names(case: Case, accuracy: Accuracy) -> list[str]:
    """Plain names assigned on the way to the metric."""
    names = []
    for event in accuracy.chain:
        target = case.program.sites[event.site].target
        if target and target.isidentifier() and target not in names:
            names.append(target)
    return names


def loops_over(case: Case, count: int, accuracy: Accuracy) -> list[ast.For]:
    """For-loops of the first turn with exactly ``count`` turns in which the metric is counted."""
    loop = case.roles.training
    ticks: dict[int, list[int]] = {}
    for event in case.trace.events[loop.start : loop.middle]:
        if event.object == -1 and event.occurrence >= 0 and event.site != loop.loop:
            ticks.setdefault(event.site, []).append(event.index)
    found = []
    inside = {e.index for e in accuracy.chain}
    for site, indices in ticks.items():
        node = case.program.sites[site].node
        if len(indices) == count and isinstance(node, ast.For) and any(i > indices[0] for i in inside):
            found.append(node)
    return found
