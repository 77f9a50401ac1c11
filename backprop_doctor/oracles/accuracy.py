"""What does the accuracy the program reports say of predictors whose accuracy is known?

The output is replaced, on its way to the metric, by predictions that are all right, all wrong, or right
for chosen samples only.  A number that stays still under tiny changes of the output and moves under
these is a metric; a true accuracy is proportional to the share of right samples.
"""

from __future__ import annotations

import ast
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.adjoints import as_target
from backprop_doctor.case import Case
from backprop_doctor.program import Event, Key, Trace
from backprop_doctor.roles import Quantity
from backprop_doctor.values import is_same

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


@dataclass(frozen=True)
class _Forced:
    """A way to choose which predictions are right.

    ``outcome`` runs with those that are chosen, and keeps some numbers or all there is; ``still`` is a run in which
    they stay what they are while the output moves by next to nothing; ``counts`` are the sizes of the sets scored, and
    ``scored`` tells which of them a number is about that is ``top`` when all predictions are right.
    """

    outcome: Callable[[Right, frozenset[Key] | None], Trace]
    still: Callable[[frozenset[Key]], Trace]
    counts: frozenset[int]
    scored: Callable[[Key, float], int]


def examine_accuracy(case: Case) -> Accuracy | None:
    """Find the metric and put it to the test; None where the program has none that can be followed."""
    found = _by_outputs(case)
    # Of several batches of one size only one has its labels known by their shape.
    if found is None or (found.unit is None and _is_in_batches(case, found)):
        hits = _by_hits(case)
        return found if hits is None else _out_of(hits, found.sets if found else ())
    return found


def _out_of(hits: Accuracy, sets: tuple[int, ...]) -> Accuracy:
    """Fewer answers than a set has samples, divided by all of these: the others were not looked at."""
    n, top = hits.samples, hits.perfect[0]
    shares = [size for size in sets if n < size and any(abs(top - u * n / size) < 1e-9 * top for u in (1.0, 100.0))]
    if hits.unit is not None or n in sets or not shares:
        return hits
    return replace(hits, samples=shares[0], looked_at=n)


def _is_in_batches(case: Case, found: Accuracy) -> bool:
    """Whether the set that is scored passes the network in pieces of one size.

    The training's own output of that size is no piece of it, unless it was scored with labels that are not its own.
    """
    output = case.roles.output
    ticks = _ticks(case, case.short)
    passed = case.short.at(output.birth[0]) if output is not None else []
    passed = passed + [a.operand for a in argmaxes(case, case.short)]
    passed = [e for e in passed if found.samples in np.shape(e.value)]
    own = _trained_on(case, passed) if found.starts_low else set()
    sets = {(bisect_left(ticks, e.index), e.object) for e in passed if e.index not in own}
    turns = Counter(turn for turn, _ in sets)
    return max(turns.values(), default=0) > 1


def _trained_on(case: Case, outputs: list[Event]) -> set[int]:
    """Outputs after which an update comes in the same step: they are the training's own, and may be no more."""
    updates = {key[0] for parameter in case.roles.parameters for key in parameter.updates}
    step = case.roles.step.loop
    ends = [e for e in case.short.events if e.site in updates or (e.object == -1 and e.site == step)]
    indices = [e.index for e in ends]
    following = ((e, bisect_left(indices, e.index)) for e in outputs)
    return {e.index for e, end in following if end < len(ends) and ends[end].object != -1}


def _by_outputs(case: Case) -> Accuracy | None:
    """Outputs are replaced, on their way to the metric, by those of predictors whose accuracy is known."""
    output, target = case.roles.output, case.judgement.target
    axis = None if target is None else _samples_of(case, target)
    if output is None or target is None or axis is None or not _is_choice(target, axis):
        return None
    short = case.short
    alike = _alike(case, short)
    scores = [e for e in short.events if e.site == output.birth[0]]
    scores += [a.operand for a in argmaxes(case, short) if _is_score(a.operand, short, scores)]
    if _width(target, axis) == 1:
        scores += [e for e in _thresholded(case, short) if _is_score(e, short, scores)]
    targets = _targets(case, short, target, {np.shape(e.value) for e in scores}, axis, alike)
    keys = [e.key for e in scores if np.shape(e.value) in targets]

    # Predictions reach the metric themselves, not by what they do to the weights.
    held = _held(case, short)

    def outcome(right: Right, wanted: frozenset[Key] | None = None, chosen: list[Key] = keys) -> Trace:
        def predict(value: Any) -> Any:
            known = targets.get(np.shape(value))
            return value if known is None else predictions(known, right(known.shape[axis]), axis)

        return _shortly(case, {**held, **dict.fromkeys(chosen, predict)}, wanted)

    def scored(wanted: Key, top: float) -> int:
        """The set whose predictions alone make the number what it is when all are right."""
        for shape, known in targets.items():
            own = [key for key in keys if np.shape(short.value(key)) == shape]
            best, worst = (_number(outcome(r, frozenset({wanted}), own).value(wanted)) for r in (_all, _none))
            if own and best == top != worst:
                return int(known.shape[axis])
        return int(max(counts))

    # What is alike stays alike: where all units are dead, all classes tie.
    def nudge(value: Any) -> Any:
        return value + 1e-9 * np.cos(value)

    def still(wanted: frozenset[Key]) -> Trace:
        return _shortly(case, {**held, **dict.fromkeys(keys, nudge)}, wanted)

    counts = frozenset(known.shape[axis] for known in targets.values())
    found = _examined(case, short, _Forced(outcome, still, counts, scored))
    if found is None:
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

    only_training = outcome(_all, frozenset({found.event.key}), [output.birth]).value(found.event.key)
    return replace(
        found,
        recomputed=_accuracy(_scored(short, output, found), target, axis)
        if found.samples == target.shape[axis]
        else None,
        trained_on=_number(only_training) == found.perfect[0] and len(targets) == 1,
        predict=predict_labels,
    )


def _scored(short: Trace, output: Quantity, found: Accuracy) -> Any:
    """The output that the first figure shown was made from."""
    shown = short.by_key.get(found.event.key)
    made = [e for e in short.at(output.birth[0]) if shown is None or e.index < shown.index]
    return made[-1].value if made else None


def _by_hits(case: Case) -> Accuracy | None:
    """What is replaced is the answer to whether a prediction is its label: samples may come one by one."""
    short = case.short
    hits = _hits(case, short, _alike(case, short))
    held = _held(case, short)

    def outcome(right: Right, wanted: frozenset[Key] | None = None, asked: list[list[Event]] = hits) -> Trace:
        forced = {}
        for several in asked:
            chosen = right(sum(np.size(e.value) for e in several))
            for event in several:
                own, chosen = chosen[: np.size(event.value)], chosen[np.size(event.value) :]
                answer = own.reshape(np.shape(event.value)) if np.ndim(event.value) else bool(own[0])
                forced[event.key] = _answer(answer)
        return _shortly(case, {**held, **forced}, wanted)

    counts = frozenset(sum(np.size(e.value) for e in several) for several in hits)

    def scored(wanted: Key, top: float) -> int:
        for n in counts:
            own = [several for several in hits if sum(np.size(e.value) for e in several) == n]
            best, worst = (_number(outcome(r, frozenset({wanted}), own).value(wanted)) for r in (_all, _none))
            if best == top != worst:
                return n
        return max(counts)

    found = _examined(case, short, _Forced(outcome, lambda _: short, counts, scored)) if hits else None
    if found is None:
        return None
    n = found.samples
    shown = [s for s in hits if sum(np.size(e.value) for e in s) == n]
    right = [bool(b) for e in (shown[0] if shown else ()) for b in np.ravel(e.value)]
    return replace(found, recomputed=float(np.mean(right)) if right else None)


def _answer(value: Any) -> Callable[[Any], Any]:
    return lambda _: np.array(value) if np.ndim(value) else value


def _shortly(case: Case, actions: dict[Key, Callable[[Any], Any]], wanted: frozenset[Key] | None = None) -> Trace:
    """A run of some turns of training and what follows them, or until all that is wanted has passed."""
    return case.run(
        actions,
        turns=case.cut,
        limit=case.short_limit,
        keep=wanted,
        brief=wanted is not None,
    )


def _examined(case: Case, short: Trace, forced: _Forced) -> Accuracy | None:
    """The number that tells how many predictions are right, and what it says when that is known."""
    outcome, counts = forced.outcome, forced.counts
    perfect = outcome(_all, None)
    numbers = _numbers(case, perfect)
    none, half = outcome(_none, numbers), outcome(lambda m: np.arange(m) < m // 2, numbers)
    moving = [e for e in perfect.events if e.key in numbers and _moves(e, none, half)]
    still = forced.still(frozenset(e.key for e in moving))
    candidates = [e for e in moving if _number(short.value(e.key)) == _number(still.value(e.key))]
    if not candidates:
        return None

    def unit_of(event: Event) -> tuple[float, int] | None:
        a, b, c = (_number(t.value(event.key)) for t in (perfect, none, half))
        if a is None or b is None or c is None or a <= 0 or b != 0:
            return None
        fits = [n for n in counts if abs(c - a * (n // 2) / n) < 1e-9 * a]
        fits = [n for n in fits if any(abs(a / u - 1) < 1e-9 for u in (1.0, 100.0, n))]
        return (a, fits[0]) if fits else None

    right = [e for e in candidates if unit_of(e)]
    shares = [e for e in right if (unit_of(e) or (0, 0))[0] in (1.0, 100.0) and not isinstance(e.value, int)]
    zeros = [e for e in candidates if _number(none.value(e.key)) in (0.0, None) and (_number(e.value) or 0) > 0]
    # The figure shown is the last of its chain; a count on the way to it only counts if nothing follows.
    named = [e for e in shares if (case.program.sites[e.site].target or "").isidentifier()]
    event = (named or shares or ([] if zeros and zeros[-1] not in right else right) or zeros or candidates)[-1]
    # Of a count that is raised for each sample the last value in the turn counts.
    event = _by_turn(case, perfect, [e for e in candidates if e.site == event.site])[0]
    top = _number(event.value) or 0.0
    known = unit_of(event)

    def score(right: Right) -> float | None:
        return _number(outcome(right, frozenset({event.key})).value(event.key))

    n = known[1] if known and len(counts) == 1 else forced.scored(event.key, top)
    looked = n if known else _looked_at(score, top, n)
    unit = known[0] if known else 100.0 if top * n / max(looked, 1) > 1.5 else 1.0
    shown = _number(short.value(event.key))
    first = next((q for q in perfect.events if q.object == event.object), event)
    line = case.program.sites[first.site].line
    return Accuracy(
        Quantity(first.object, first.key, first.index, _name(case, perfect, event), line, ()),
        event,
        tuple(_number(e.value) or 0.0 for e in _by_turn(case, perfect, perfect.at(event.site))),
        known[0] if known else None,
        n,
        looked,
        None if shown is None else shown / unit,
        None,
        tuple(candidates),
        trained_on=False,
        starts_low=_number(none.value(event.key)) == 0,
        wrong=_number(none.value(event.key)),
        half=_number(half.value(event.key)),
        score=score,
        predict=lambda labels: None,
        traces=(perfect, half, none),
        sets=tuple(sorted(counts)),
    )


def _ticks(case: Case, trace: Trace) -> list[int]:
    """Where the turns of training begin."""
    loop = case.roles.training.loop
    return [e.index for e in trace.events if e.object == -1 and e.occurrence >= 0 and e.site == loop]


def _by_turn(case: Case, trace: Trace, events: list[Event]) -> list[Event]:
    """The last of some numbers in each turn of training; what comes after training belongs to the last turn."""
    ticks = _ticks(case, trace)
    latest = {bisect_left(ticks, e.index): e for e in events if np.size(e.value) == 1}
    return [event for _, event in sorted(latest.items())]


# -- predictions and labels ----------------------------------------------------------------------------


def _samples_of(case: Case, target: Array) -> int | None:
    """The axis of the samples in an array of labels."""
    if case.axes.output_samples is not None:
        return case.axes.output_samples
    long = [axis for axis, n in enumerate(target.shape) if n > 1]
    return long[0] if len(long) == 1 and max(target.shape) == case.samples else None


def _width(target: Array, axis: int) -> int:
    """How many outputs a sample has."""
    return int(target.size // target.shape[axis])


def _is_choice(target: Array, axis: int) -> bool:
    """Whether labels are one-hot rows, or one of two numbers for a network of one output."""
    values = np.unique(target)
    if target.ndim > 2 or values.size != 2:
        return False
    return _width(target, axis) == 1 or (set(values) == {0.0, 1.0} and np.allclose(target.sum(axis=1 - axis), 1))


def _alike(case: Case, short: Trace) -> set[Key]:
    """The events of the short run that are the same with other parameters: they hang on none."""

    def other(value: Any) -> Any:
        old = np.asarray(value, np.float64)
        noise = np.cos(np.arange(old.size, dtype=float)).reshape(old.shape)
        new = -old + 0.5 * (np.abs(old).mean() or 1.0) * noise
        return new if isinstance(value, np.ndarray) else float(new)

    births = {p.birth: other for p in case.roles.parameters}
    probe = replace(
        case.probe,
        actions=births | _held(case, short, other),
        turns=case.cut,
        limit=case.short_limit,
    )
    return case.program.unchanged(probe, short)


def _thresholded(case: Case, trace: Trace) -> list[Event]:
    """Arrays from training on that are compared with a number or rounded: a choice of two is made of them."""
    found = []
    for event in trace.events[case.roles.training.start :]:
        site = case.program.sites[event.site]
        if event.object == -1 or site.kind not in ("call", "operation") or np.size(event.value) < 2:
            continue
        if len(np.unique(event.value)) > 2:
            continue
        operands = trace.operands(event, site.children)
        found += [o for o in operands if np.shape(o.value) == np.shape(event.value) and len(np.unique(o.value)) > 2]
    return found


def _hits(case: Case, short: Trace, alike: set[Key]) -> list[list[Event]]:
    """Questions whether whole numbers are the same whose answers hang on the parameters, by place and turn."""
    ticks = _ticks(case, short)
    sites: dict[int, dict[int, list[Event]]] = {}
    differ: set[int] = set()
    for event in short.events[case.roles.training.start :]:
        node = case.program.sites[event.site].node
        if event.object == -1 or not isinstance(node, ast.Compare) or not isinstance(node.ops[0], ast.Eq):
            continue
        operands = short.operands(event, case.program.sites[event.site].children)
        whole = all(np.array_equal(o.value, np.round(o.value)) for o in operands)
        if len(node.ops) > 1 or not whole or np.size(event.value) != max(np.shape(event.value), default=1):
            continue
        sites.setdefault(event.site, {}).setdefault(bisect_left(ticks, event.index), []).append(event)
        if event.key not in alike:
            differ.add(event.site)
    return [several for site in differ for _, several in sorted(sites[site].items())]


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


def _held(
    case: Case, short: Trace, change: Callable[[Any], Any] = lambda value: value
) -> dict[Key, Callable[[Any], Any]]:
    """Actions that give every update the value it had in the undisturbed run, or another made of that."""
    sites = {key[0] for parameter in case.roles.parameters for key in parameter.updates}

    def hold(before: Any) -> Callable[[Any], Any]:
        return lambda value: change(np.array(before) if isinstance(before, np.ndarray) else before)

    return {event.key: hold(event.value) for event in short.events if event.site in sites}


def _all(samples: int) -> NDArray[np.bool_]:
    return np.ones(samples, bool)


def _none(samples: int) -> NDArray[np.bool_]:
    return np.zeros(samples, bool)


def _number(value: Any) -> float | None:
    if type(value) in (int, float):  # as nearly all are
        return float(value)
    return None if value is None or np.size(value) != 1 else float(np.squeeze(value))


def _name(case: Case, trace: Trace, event: Event) -> str:
    for other in trace.events:
        target = case.program.sites[other.site].target
        if other.object == event.object and target and target.isidentifier():
            return target
    return case.text(case.program.sites[event.site].node)


def predictions(target: Array, right: NDArray[np.bool_], axis: int) -> Array:
    """Confident outputs: the true class where ``right``, and the next or the other class elsewhere."""
    low, high = target.min(), target.max()
    wrong = low + high - target if _width(target, axis) == 1 else np.roll(target, 1, axis=1 - axis)
    mask = np.expand_dims(right, tuple(a for a in range(target.ndim) if a != axis))
    chosen: Array = 0.1 * (high - low) / 10 + low + 0.9 * (np.where(mask, target, wrong) - low)
    return chosen


def _targets(
    case: Case, trace: Trace, target: Array, wanted: set[tuple[int, ...]], axis: int, alike: set[Key]
) -> dict[tuple[int, ...], Array]:
    """Known labels by the shape of the output they belong to: the training ones, and others in sight.

    What hangs on the parameters are predictions, and no labels.
    """
    width, values = _width(target, axis), np.unique(target)
    found: dict[tuple[int, ...], Array] = {}
    if case.roles.step.loop == case.roles.training.loop:
        found[target.shape] = target
    births: set[int] = set()
    for event in trace.events:
        if event.object == -1 or event.object in births or np.ndim(event.value) not in (1, 2):
            continue
        births.add(event.object)
        for shape in {w for w in wanted if len(w) == target.ndim and w[axis] <= np.size(event.value)} - set(found):
            labels = as_target(event.value, shape)
            if labels is None or not set(np.unique(labels)) <= set(values) or not _is_choice(labels, axis):
                continue
            several = width == 1 or len(np.unique(np.argmax(labels, axis=1 - axis))) > min(2, width - 1)
            if several and event.key in alike:
                found[shape] = labels
    return found


def _numbers(case: Case, trace: Trace) -> frozenset[Key]:
    """The finite numbers that pass from the first turn of the training on."""
    start = next(e.index for e in trace.events if e.object == -1 and e.site == case.roles.training.loop)
    values = ((e.key, e.value) for e in trace.events[start:] if e.object != -1 and np.size(e.value) == 1)
    return frozenset(k for k, v in values if np.asarray(v).dtype.kind != "b" and np.isfinite(_number(v) or 0.0))


def _moves(event: Event, *others: Trace) -> bool:
    """Whether a number differs between right and wrong predictions; where a run broke before it, none can tell."""
    if any(other.failed and not (other.events and other.events[-1].index >= event.index) for other in others):
        return False
    return any(_number(other.value(event.key)) != _number(event.value) for other in others)


def _looked_at(score: Callable[[Right], float | None], perfect: float, n: int) -> int:
    """How many samples, from the first on, decide the metric (bisection over 'the first k are right')."""
    low, high = 1, n
    while low < high:
        middle = (low + high) // 2
        value = score(lambda m, k=middle: np.arange(m) < k)  # type: ignore[misc]
        if value is not None and abs(value - perfect) < 1e-9 * abs(perfect):
            high = middle
        else:
            low = middle + 1
    return low


def _accuracy(output: Any, target: Array, axis: int) -> float | None:
    if output is None or np.shape(output) != target.shape:
        return None
    if _width(target, axis) == 1:
        middle = (target.min() + target.max()) / 2
        return float(np.mean((np.asarray(output) > middle) == (target > middle)))
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
    ends = {e.site: e.index for e in case.trace.events[loop.start : loop.middle] if e.object == -1 and e.occurrence < 0}
    for site, indices in ticks.items():
        node = case.program.sites[site].node
        end = ends.get(site, loop.middle)
        if len(indices) == count and isinstance(node, ast.For) and any(indices[0] < i < end for i in inside):
            found.append(node)
    return found
