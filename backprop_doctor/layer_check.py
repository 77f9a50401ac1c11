"""Checks a layer: a pair of functions, or an object with a forward and a backward pass.

Nothing is known by its name.  What the output depends on is found by changing it; which of the values
that the backward pass returns or leaves behind is which gradient is found by comparing them all.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.errors import UsageError
from backprop_doctor.gradient_check import Randomness, known_sizes
from backprop_doctor.gradient_report import GradientReport, GradientVerdict
from backprop_doctor.judging import LIMIT_RELATIVE, Judge
from backprop_doctor.slopes import Function, Numeric
from backprop_doctor.structures import Leaf, as_array, has_numbers

__all__ = ["check_layer"]

Array = NDArray[np.float64]

SCALES = (1.0, 0.1, 3.0)
MOVED = 0.1  # parameters away from their initial values, relative to their size
RATE = 0.125  # what a backward pass gets for a learning rate
DEPTH = 5


def check_layer(
    layer: Any,
    *inputs: Any,
    scales: Sequence[float] = SCALES,
    limit: float = LIMIT_RELATIVE,
    sizes: Mapping[str, int] | None = None,
    seed: int = 0,
    **keywords: Any,
) -> GradientReport:
    """Check the backward pass of a layer against its forward pass.

    Parameters
    ----------
    layer : pair of functions, or object with ``forward`` and ``backward``
        ``forward(*inputs, **keywords)`` gives the output, alone or as ``(output, ..., cache)``;
        ``backward(dout, ..., cache)`` gives gradients in any order.  An object may keep its parameters and
        leave their gradients in any attribute; a pair of its methods will do too.
    *inputs : array or anything
        Arguments of the forward pass.  Arrays of floats are differentiated, all else is handed on.
    scales : sequence of float
        Sizes, relative to ``inputs``, at which the layer is checked; parameters of an object are moved a
        little at all but the first.
    limit : float
        Relative error up to which a gradient is right.
    sizes : mapping of str to int, optional
        What factors may be made of, such as ``{"N": 97}``.
    seed : int
        Chooses the upstream gradient and the directions.
    **keywords : anything
        Arguments of the forward pass that are not differentiated.

    Returns
    -------
    GradientReport
        A verdict for each input and parameter; true if all are right.

    Raises
    ------
    UsageError
        If there is no forward or backward pass, or it cannot be called.

    Examples
    --------
    >>> import numpy as np
    >>> def forward(x, w):
    ...     return x @ w, (x, w)
    >>> def backward(dout, cache):
    ...     x, w = cache
    ...     return dout @ w.T, x.T @ dout
    >>> rng = np.random.default_rng(0)
    >>> x, w = rng.normal(size=(5, 4)), rng.normal(size=(4, 3))
    >>> check_layer((forward, backward), x, w).passed
    True
    """
    randomness = Randomness()
    passes = _passes(layer, inputs, keywords, randomness)
    try:
        reports = []
        for number, scale in enumerate(scales):
            report = _checked(passes, scale, moved=number > 0, limit=limit, given=sizes, seed=seed + number)
            reports.append(report)
            if not number and any(verdict.kind == "random" for verdict in report.verdicts):
                break
    finally:
        randomness.rewind()
    return replace(_combined(reports, scales), seed=seed, remarks=_remarks(reports, passes))


# -- two kinds of layers ---------------------------------------------------------------------------------


@dataclass
class _Run:
    """A forward pass that was run: what it got, gave, and left behind."""

    inputs: tuple[Any, ...]
    result: Any
    layer: Any = None
    before: dict[tuple[Any, ...], Array] = field(default_factory=dict)


@dataclass(frozen=True)
class _Convention:
    """A way of calling the backward pass; ``outputs`` upstream gradients are handed over."""

    text: str
    outputs: int
    call: Callable[[_Run, list[Any]], Any]
    upstream: bool = True
    rate: float | None = None


@dataclass(frozen=True)
class _Candidate:
    """A value that may be a gradient, and where it was found; ``order`` counts returned values."""

    text: str
    value: Array
    order: int | None = None
    place: tuple[Any, ...] | None = None


class _Passes(Protocol):
    """What can be asked of either kind of layer."""

    subject: str
    names: list[str]
    point: list[Array]
    inputs: list[int]

    def run(self, values: list[Array]) -> _Run: ...

    def conventions(self, run: _Run) -> Iterator[_Convention]: ...

    def candidates(self, run: _Run, returned: Any, convention: _Convention) -> list[_Candidate]: ...

    def remarks(self) -> Iterator[str]: ...


class _Arguments:
    """The arguments of a forward pass: those that are differentiated, and the others."""

    def __init__(self, forward: Any, inputs: tuple[Any, ...], keywords: dict[str, Any], randomness: Randomness) -> None:
        self.forward = forward
        self.given = inputs
        self.keywords = keywords
        self.randomness = randomness
        self.changed: set[str] = set()
        names = _argument_names(forward, len(inputs))
        self.moved = [i for i, value in enumerate(inputs) if _is_float(value)]
        self.names = [names[i] for i in self.moved]
        self.point = [as_array(inputs[i]).astype(np.float64) for i in self.moved]

    def call(self, forward: Any, values: list[Array]) -> tuple[tuple[Any, ...], Any]:
        """Run with copies of everything, so that no call can disturb another."""
        inputs = [copy.deepcopy(value) if i not in self.moved else value for i, value in enumerate(self.given)]
        for i, value in zip(self.moved, values, strict=True):
            inputs[i] = value.copy()
        self.randomness.rewind()
        result = forward(*inputs, **copy.deepcopy(self.keywords))
        for name, i, value in zip(self.names, self.moved, values, strict=True):
            if not np.array_equal(inputs[i], value, equal_nan=True):
                self.changed.add(name)
        return tuple(inputs), result


class _Pair:
    """A forward and a backward function."""

    def __init__(self, forward: Any, backward: Any, arguments: _Arguments) -> None:
        self.backward = backward
        self.arguments = arguments
        self.subject = f"{_called(forward)} and {_called(backward)}"
        self.names, self.point = list(arguments.names), list(arguments.point)
        self.inputs = list(range(len(self.names)))

    def run(self, values: list[Array]) -> _Run:
        return _Run(*self.arguments.call(self.arguments.forward, values))

    def conventions(self, run: _Run) -> Iterator[_Convention]:
        backward, result = self.backward, run.result
        if isinstance(result, (tuple, list)) and len(result) >= 2:
            outputs = len(result) - 1
            if all(_is_float(value) for value in result[:-1]):
                yield _Convention("backward(dout, cache)", outputs, lambda r, u: backward(*u, r.result[-1]))
            if outputs > 1 or not _is_float(result[0]):
                yield _Convention("backward(dout, *caches)", 1, lambda r, u: backward(*u, *r.result[1:]))
                yield _Convention("backward(dout, caches)", 1, lambda r, u: backward(*u, tuple(r.result[1:])))
                yield _Convention("backward(dout, cache)", 1, lambda r, u: backward(*u, r.result[1]))
            yield _Convention("backward(cache, dout)", outputs, lambda r, u: backward(r.result[-1], *u))
            yield _Convention("backward(cache)", 1, lambda r, u: backward(r.result[-1]), upstream=False)
            return
        yield _Convention("backward(dout, *inputs)", 1, lambda r, u: backward(*u, *r.inputs))
        yield _Convention("backward(*inputs, dout)", 1, lambda r, u: backward(*r.inputs, *u))
        yield _Convention("backward(dout, output)", 1, lambda r, u: backward(*u, r.result))
        yield _Convention("backward(output, dout)", 1, lambda r, u: backward(r.result, *u))
        yield _Convention("backward(dout)", 1, lambda r, u: backward(*u))
        if len(run.inputs) > 1:
            yield _Convention("backward(input, dout)", 1, lambda r, u: backward(r.inputs[0], *u))
            yield _Convention("backward(dout, input)", 1, lambda r, u: backward(*u, r.inputs[0]))
        yield _Convention("backward(*inputs)", 1, lambda r, u: backward(*r.inputs), upstream=False)
        if np.ndim(result) > 0:
            yield _Convention("dout * backward(*inputs)", 1, lambda r, u: _times(u, backward(*r.inputs), r))
            yield _Convention("dout * backward(output)", 1, lambda r, u: _times(u, backward(r.result), r))

    def candidates(self, run: _Run, returned: Any, convention: _Convention) -> list[_Candidate]:
        return list(_returned(returned))

    def remarks(self) -> Iterator[str]:
        for name in sorted(self.arguments.changed):
            yield f"the forward pass changes {name} in place"


class _Object:
    """An object with methods for both passes; each run has a copy of it."""

    def __init__(self, layer: Any, forward: str, backward: str, arguments: _Arguments) -> None:
        self.forward, self.backward = forward, backward
        self.arguments = arguments
        self.subject = type(layer).__name__
        self.layer, self.untouched = _clone(layer), _clone(layer)
        self.inputs = list(range(len(arguments.names)))
        self.places: list[tuple[Any, ...]] = []
        self.names, self.point = list(arguments.names), list(arguments.point)
        if not any(True for _ in _arrays(layer)):
            # Some layers make their parameters when they see the first input.
            self.arguments.call(getattr(self.layer, forward), self.point)
        self._find_parameters()

    def run(self, values: list[Array]) -> _Run:
        layer = _clone(self.layer)
        for place, value in zip(self.places, values[len(self.inputs) :], strict=True):
            _put(layer, place, value)
        inputs, result = self.arguments.call(getattr(layer, self.forward), values[: len(self.inputs)])
        return _Run(inputs, result, layer, {place: np.array(value) for place, value in _arrays(layer)})

    def conventions(self, run: _Run) -> Iterator[_Convention]:
        name = self.backward
        outputs = len(_outputs(run.result))

        def backward(run: _Run, *arguments: Any) -> Any:
            return getattr(run.layer, name)(*arguments)

        def alone(*arguments: Any) -> Any:
            return getattr(_clone(self.untouched), name)(*arguments)

        yield _Convention("backward(dout)", outputs, lambda r, u: backward(r, *u))
        for rates in (1, 2):
            yield _Convention(
                f"backward(dout, {', '.join([f'{RATE:g}'] * rates)})",
                outputs,
                lambda r, u, rates=rates: backward(r, *u, *[RATE] * rates),  # type: ignore[misc]
                rate=RATE,
            )
        yield _Convention("backward(dout, *inputs)", outputs, lambda r, u: backward(r, *u, *r.inputs))
        yield _Convention("backward(*inputs, dout)", outputs, lambda r, u: backward(r, *r.inputs, *u))
        if len(run.inputs) > 1:
            # What comes after the first, such as a mode or a rate of dropout, the way back need not know.
            yield _Convention("backward(input, dout)", outputs, lambda r, u: backward(r, r.inputs[0], *u))
            yield _Convention("backward(dout, input)", outputs, lambda r, u: backward(r, *u, r.inputs[0]))
        yield _Convention("backward()", outputs, lambda r, u: backward(r), upstream=False)
        yield _Convention("backward(*inputs)", outputs, lambda r, u: backward(r, *r.inputs), upstream=False)
        if np.ndim(run.result) > 0:
            # The derivative of an activation needs nothing that a forward pass has left behind.
            yield _Convention("dout * backward(*inputs)", 1, lambda r, u: _times(u, alone(*r.inputs), r))
            yield _Convention("dout * backward(output)", 1, lambda r, u: _times(u, alone(r.result), r))

    def candidates(self, run: _Run, returned: Any, convention: _Convention) -> list[_Candidate]:
        found = list(_returned(returned))
        for place, value in _arrays(run.layer):
            before, text = run.before.get(place), _spelled(place)
            if place in self.places:
                if before is not None and before.shape == value.shape and not np.array_equal(before, value):
                    rate = convention.rate or 1.0
                    found.append(_Candidate(f"the step of {text}", (before - value) / rate, place=place))
                continue
            if before is None or before.shape != value.shape:
                found.append(_Candidate(text, np.array(value), place=place))
            elif not np.array_equal(before, value, equal_nan=True):
                found.append(_Candidate(text, np.array(value), place=place))
                if np.any(before):
                    found.append(_Candidate(f"what is added to {text}", value - before, place=place))
        return found

    def remarks(self) -> Iterator[str]:
        for name in sorted(self.arguments.changed):
            yield f"the forward pass changes {name} in place"

    def _find_parameters(self) -> None:
        """Arrays that the output depends on when they are changed before the forward pass."""
        generator = np.random.default_rng(0)
        values = self.arguments.point
        plain = _outputs(self.arguments.call(getattr(_clone(self.layer), self.forward), values)[1])
        for place, array in list(_arrays(self.layer)):
            size = float(np.sqrt(np.mean(np.square(array)))) or 1.0
            layer = _clone(self.layer)
            _put(layer, place, array + 0.1 * size * generator.standard_normal(array.shape))
            with np.errstate(all="ignore"):
                try:
                    changed = _outputs(self.arguments.call(getattr(layer, self.forward), values)[1])
                except Exception:  # what is no parameter need not survive being changed
                    continue
            if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(plain, changed, strict=False)):
                self.places.append(place)
                self.names.append(_spelled(place))
                self.point.append(array.astype(np.float64))


def _passes(layer: Any, inputs: tuple[Any, ...], keywords: dict[str, Any], randomness: Randomness) -> _Passes:
    if isinstance(layer, type):
        raise UsageError(f"{layer.__name__} is a class: pass one of its objects, {layer.__name__}(...)")
    if isinstance(layer, (tuple, list)):
        if len(layer) != 2 or not all(map(callable, layer)):
            raise UsageError("a layer is a pair (forward, backward) of functions, or an object with both")
        forward, backward = layer
        owner = getattr(forward, "__self__", None)
        arguments = _Arguments(forward, inputs, keywords, randomness)
        if owner is not None and not inspect.ismodule(owner) and owner is getattr(backward, "__self__", None):
            return _Object(owner, forward.__name__, backward.__name__, arguments)
        return _Pair(forward, backward, arguments)
    name = "forward" if callable(getattr(layer, "forward", None)) else "__call__"
    for wanted in (name, "backward"):
        if not callable(getattr(layer, wanted, None)):
            what = "forward" if wanted == "__call__" else wanted
            raise UsageError(
                f"{type(layer).__name__} has no method {what}; pass a pair of its methods, (layer.one, layer.other)"
            )
    return _Object(layer, name, "backward", _Arguments(getattr(layer, name), inputs, keywords, randomness))


# -- one check -------------------------------------------------------------------------------------------


def _checked(
    passes: _Passes, scale: float, *, moved: bool, limit: float, given: Mapping[str, int] | None, seed: int
) -> GradientReport:
    """The layer at inputs of one size, called in the way in which most of its gradients are right."""
    generator = np.random.default_rng([seed, 19])
    point = []
    for index, values in enumerate(passes.point):
        size = float(np.sqrt(np.mean(np.square(values)))) or 1.0 if values.size else 1.0
        shift = MOVED * size * generator.standard_normal(values.shape) if moved else 0.0
        point.append(values * scale if index in passes.inputs else values + shift)
    with np.errstate(all="ignore"):
        run = passes.run(point)
        trouble = _trouble(passes, run, point)
    if trouble:
        verdicts = [_unknown(name, values, *trouble) for name, values in zip(passes.names, point, strict=True)]
        return GradientReport(passes.subject, tuple(verdicts), float("nan"), 2, seed)
    if not point:
        raise UsageError(
            "there is nothing to differentiate: no input is an array of floats, and there are no parameters"
        )
    sizes = known_sizes(None, [Leaf((), name, values) for name, values in zip(passes.names, point, strict=True)], given)
    judges: dict[tuple[int, bool], tuple[Judge, list[Any]]] = {}
    best: GradientReport | None = None
    failures: list[Exception] = []
    for number, convention in enumerate(passes.conventions(run)):
        outputs = _outputs(run.result)[: convention.outputs]
        if not convention.upstream and any(output.size != 1 for output in outputs):
            continue
        key = (convention.outputs, convention.upstream)
        if key not in judges:
            judges[key] = _judge(passes, point, outputs, key, limit, sizes, seed)
        judge, upstream = judges[key]
        fresh = passes.run(point)
        try:
            with np.errstate(all="ignore"):
                returned = convention.call(fresh, [u.copy() if isinstance(u, np.ndarray) else u for u in upstream])
                candidates = passes.candidates(fresh, returned, convention)
        except Exception as error:  # not the way in which it wants to be called
            failures.append(error)
            continue
        if not candidates:
            continue
        report = _verdicts(passes, judge, candidates, seed)
        if number:
            report = replace(report, remarks=(f"called as {convention.text}",))
        if convention.upstream and isinstance(passes, _Pair) and "cache" in convention.text:
            report = _with_cache(passes, convention, report, point, upstream)
        if best is None or _rights(report) > _rights(best):
            best = report
        if best.passed:
            break
    if best is None:
        text = f"{type(failures[0]).__name__}: {failures[0]}" if failures else "it returns no arrays and leaves none"
        raise UsageError(f"the backward pass of {passes.subject} gives no gradients: {text}") from (
            failures[0] if failures else None
        )
    return best


def _judge(
    passes: _Passes,
    point: list[Array],
    outputs: list[Array],
    key: tuple[int, bool],
    limit: float,
    sizes: Mapping[str, int],
    seed: int,
) -> tuple[Judge, list[Any]]:
    """A judge of the function <dout, forward(inputs)>, and that random dout."""
    number, random = key
    generator = np.random.default_rng([seed, 23])
    upstream: list[Any] = [
        generator.standard_normal(output.shape) if random else np.ones(output.shape) for output in outputs
    ]
    upstream = [float(u) if u.ndim == 0 else u for u in upstream]

    def value(values: list[Array]) -> float:
        results = _outputs(passes.run(values).result)[:number]
        return float(sum(np.vdot(u, result) for u, result in zip(upstream, results, strict=True)))

    return Judge(Numeric(Function(value), point, seed=seed), limit=limit, sizes=sizes), upstream


def _verdicts(passes: _Passes, judge: Judge, candidates: list[_Candidate], seed: int) -> GradientReport:
    chosen = _paired(passes, judge, candidates)
    verdicts = []
    for index, name in enumerate(passes.names):
        candidate = chosen.get(index)
        if candidate is None:
            reason = "no value that the backward pass returns or leaves behind is of its shape"
            verdicts.append(_unknown(name, passes.point[index], "missing", reason))
        else:
            value = candidate.value
            if value.ndim == 0 and value == 0:
                value = np.zeros(passes.point[index].shape)  # a plain 0 stands for nothing at all
            verdict = judge.verdict(index, value, name)
            verdicts.append(replace(verdict, claim=candidate.text, reason=f"{candidate.text}: {verdict.reason}"))
    return GradientReport(passes.subject, tuple(verdicts), judge.numeric.value, judge.numeric.evaluations, seed)


def _paired(passes: _Passes, judge: Judge, candidates: list[_Candidate]) -> dict[int, _Candidate]:
    """Which value is which gradient: first those that are right, then multiples, then what is left by shape."""
    chosen: dict[int, _Candidate] = {}
    used: set[int] = set()
    targets = sorted(range(len(passes.names)), key=lambda i: (-passes.point[i].size, i))
    distances = {(i, c): judge.distance(i, candidates[c].value) for i in targets for c in range(len(candidates))}

    def preference(index: int, number: int) -> tuple[bool, bool, int]:
        """Returned values for inputs, in their order; attributes for parameters; own steps before others."""
        candidate = candidates[number]
        is_input = index in passes.inputs
        own = candidate.text.endswith(passes.names[index])
        return (candidate.order is None) == is_input, not own, abs((candidate.order or 0) - index)

    def take(fits: Callable[[int, int], float | None]) -> None:
        for index in targets:
            if index in chosen:
                continue
            scores = [(score, preference(index, c), c) for c in range(len(candidates))
                      if c not in used and (score := fits(index, c)) is not None]  # fmt: skip
            if scores:
                number = min(scores)[2]
                chosen[index] = candidates[number]
                used.update(_same_place(candidates, number))

    def right(index: int, number: int) -> float | None:
        return 0.0 if distances[index, number][0] == 0.0 else None

    def multiple(index: int, number: int) -> float | None:
        return 0.0 if distances[index, number][1] == 0.0 and candidates[number].value.size > 1 else None

    def shape(index: int, number: int) -> float | None:
        return (
            min(1.0, distances[index, number][0])
            if candidates[number].value.shape == passes.point[index].shape
            else None
        )

    def size(index: int, number: int) -> float | None:
        return 0.0 if candidates[number].value.size == passes.point[index].size else None

    def left_over(index: int, number: int) -> float | None:
        candidate = candidates[number]
        if index in passes.inputs:
            return 0.0 if candidate.order is not None else None
        # An attribute of another shape that goes by the name of the parameter, such as db or grads['b'].
        own, words = re.findall(r"\w+", passes.names[index]), re.findall(r"\w+", candidate.text)
        is_own = candidate.place is not None and words[-1].removeprefix("d").strip("_") == own[-1]
        return 0.0 if is_own and "step" not in words and "added" not in words else None

    for fits in (right, multiple, shape, size, left_over):
        take(fits)
    return chosen


def _same_place(candidates: list[_Candidate], number: int) -> Iterator[int]:
    """The candidate itself, and others that were read at the same place."""
    place = candidates[number].place
    yield number
    if place is not None:
        yield from (i for i, candidate in enumerate(candidates) if candidate.place == place)


def _with_cache(
    passes: _Pair, convention: _Convention, report: GradientReport, point: list[Array], upstream: list[Any]
) -> GradientReport:
    """A backward pass must not depend on forward passes that came after the one it belongs to."""

    def gradients(run: _Run) -> list[Array]:
        returned = convention.call(run, [u.copy() if isinstance(u, np.ndarray) else u for u in upstream])
        return [candidate.value for candidate in _returned(returned)]

    with np.errstate(all="ignore"):
        expected = gradients(passes.run(point))
        kept = passes.run(point)
        try:
            passes.run([values[::-1] * 0.5 + 0.25 if values.ndim else values * 0.5 for values in point])
        except Exception:  # these are other inputs than the layer was made for
            return report
        try:
            seen = gradients(kept)
        except Exception as error:
            seen, said = [], f" ({type(error).__name__}: {error})"
        else:
            said = ""
    if len(seen) == len(expected) and all(map(_close, seen, expected)):
        return report
    verdict = GradientVerdict(
        name="cache",
        verdict="wrong",
        kind="stale",
        reason=f"backward gives other gradients once forward has been called again with other inputs{said}: "
        "the cache shares memory with later calls, or is not what backward reads",
        shape=(),
    )
    return replace(report, verdicts=(*report.verdicts, verdict))


def _trouble(passes: _Passes, run: _Run, point: list[Array]) -> tuple[str, str] | None:
    """Kind and sentence of what keeps the forward pass from being differentiated."""
    outputs, again = _outputs(run.result), _outputs(passes.run(point).result)
    if not outputs:
        raise UsageError(f"the forward pass of {passes.subject} returns no array of floats")
    if not all(np.all(np.isfinite(output)) for output in outputs):
        return "not finite", "the output is not finite here"
    if not all(map(_close, outputs, again)):
        return "random", "two forward passes of the same inputs differ: it draws random numbers of its own; seed it"
    return None


# -- several scales --------------------------------------------------------------------------------------


def _combined(reports: list[GradientReport], scales: Sequence[float]) -> GradientReport:
    """One verdict each: wrong where it is wrong at any scale, right where it is right at one, else unknown."""
    first = reports[0]
    verdicts = []
    for name in dict.fromkeys(verdict.name for report in reports for verdict in report.verdicts):
        seen = [(scale, v) for scale, r in zip(scales, reports, strict=False) for v in r.verdicts if v.name == name]
        order = {"wrong": 0, "right": 2, "unknown": 3}
        scale, verdict = min(seen, key=lambda pair: 1 if pair[1].kind == "between" else order[pair[1].verdict])
        if scale != scales[0] and verdict.verdict != "right":
            verdict = replace(verdict, reason=f"with inputs {scale:g} times as large, {verdict.reason}")
        verdicts.append(verdict)
    return replace(first, verdicts=tuple(verdicts), evaluations=sum(report.evaluations for report in reports))


def _remarks(reports: list[GradientReport], passes: _Passes) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*(remark for report in reports for remark in report.remarks), *passes.remarks()]))


def _rights(report: GradientReport) -> int:
    return sum(verdict.verdict == "right" for verdict in report.verdicts)


def _unknown(name: str, values: Array, kind: str, reason: str) -> GradientVerdict:
    return GradientVerdict(name, "unknown", kind, reason, values.shape)


# -- values ----------------------------------------------------------------------------------------------


def _outputs(result: Any) -> list[Array]:
    """The arrays that a forward pass gives, without its cache."""
    if isinstance(result, (tuple, list)) and not has_numbers(result):
        arrays = []
        for value in result[: max(1, len(result) - 1)] if isinstance(result, tuple) else result:
            if not _is_float(value):
                break
            arrays.append(as_array(value).astype(np.float64))
        return arrays
    return [as_array(result).astype(np.float64)] if has_numbers(result) else []


def _returned(value: Any) -> Iterator[_Candidate]:
    items = list(_flat(value))
    for number, item in enumerate(items):
        text = "the returned value" if len(items) == 1 else f"returned value {number + 1}"
        if item is not None and has_numbers(item) and as_array(item).dtype.kind in "fiu":
            yield _Candidate(text, as_array(item).astype(np.float64), order=number)


def _flat(value: Any) -> Iterator[Any]:
    if has_numbers(value):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _flat(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _flat(item)
    else:
        yield None


def _arrays(owner: Any) -> Iterator[tuple[tuple[Any, ...], Array]]:
    """Arrays of floats in the attributes of an object, however deep, with the way to them."""
    yield from _walk(owner, (), set())


def _walk(value: Any, place: tuple[Any, ...], seen: set[int]) -> Iterator[tuple[tuple[Any, ...], Array]]:
    if id(value) in seen or len(place) > DEPTH:
        return
    if _is_float(value) and np.ndim(value) > 0:
        yield place, as_array(value).astype(np.float64)
        return
    seen.add(id(value))
    if isinstance(value, Mapping):
        for key, item in list(value.items()):
            yield from _walk(item, (*place, ("item", key)), seen)
    elif isinstance(value, (list, tuple)):
        for key, item in enumerate(value):
            yield from _walk(item, (*place, ("item", key)), seen)
    elif not isinstance(value, type) and not callable(getattr(value, "__code__", None)):
        for name in _attributes(value):
            yield from _walk(getattr(value, name, None), (*place, ("attribute", name)), seen)


def _attributes(value: Any) -> list[str]:
    if type(value).__module__ in ("builtins", "numpy", "types") or inspect.ismodule(value):
        return []
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ()) if isinstance(name, str)]
    return [*getattr(value, "__dict__", {}), *(name for name in slots if hasattr(value, name))]


def _put(owner: Any, place: tuple[Any, ...], values: Array) -> None:
    for kind, key in place[:-1]:
        owner = owner[key] if kind == "item" else getattr(owner, key)
    kind, key = place[-1]
    if kind == "attribute":
        old = getattr(owner, key)
        setattr(owner, key, values.tolist() if isinstance(old, list) else values.copy())
    elif not isinstance(owner, tuple):
        owner[key] = values.tolist() if isinstance(owner[key], list) else values.copy()


def _spelled(place: tuple[Any, ...]) -> str:
    text = ""
    for kind, key in place:
        text += f".{key}" if kind == "attribute" else f"[{key!r}]"
    return text.removeprefix(".")


def _clone(layer: Any) -> Any:
    try:
        return copy.deepcopy(layer)
    except Exception:  # a file, a lock or a generator somewhere inside: shared, all else copied
        clone = copy.copy(layer)
        for name, value in list(getattr(layer, "__dict__", {}).items()):
            setattr(clone, name, _copied(value))
        return clone


def _copied(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception:
        return value


def _is_float(value: Any) -> bool:
    return has_numbers(value) and as_array(value).dtype.kind == "f"


def _close(a: Array, b: Array) -> bool:
    scale = float(np.max(np.abs(b), initial=0.0))
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-9, atol=1e-12 * scale, equal_nan=True))


def _times(upstream: list[Any], derivative: Any, run: _Run) -> Any:
    if np.shape(derivative) != np.shape(run.inputs[0]):
        raise ValueError("an elementwise derivative has the shape of the input")
    return upstream[0] * np.asarray(derivative)


def _argument_names(function: Any, number: int) -> list[str]:
    names: list[str] = []
    try:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        names = [p.name for p in inspect.signature(function).parameters.values() if p.kind in kinds]
    except (TypeError, ValueError):
        pass
    return [names[i] if i < len(names) else f"input {i + 1}" for i in range(number)]


def _called(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
