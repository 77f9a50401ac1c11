"""Checks a layer: a pair of functions, or an object with a forward and a backward pass.

Nothing is known by its name.  What the output depends on is found by changing it; which of the values
that the backward pass returns or leaves behind is which gradient is found by comparing them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.errors import UsageError
from backprop_doctor.gradient_check import Randomness, known_sizes
from backprop_doctor.gradient_report import GradientReport, GradientVerdict
from backprop_doctor.judging import LIMIT_RELATIVE, Judge
from backprop_doctor.layer_passes import (
    Candidate,
    Convention,
    Functions,
    Passes,
    Run,
    open_layer,
    outputs_of,
    returned_arrays,
)
from backprop_doctor.slopes import Function, Numeric
from backprop_doctor.structures import Leaf

__all__ = ["LayerCheck", "check_layer", "look_once"]

Array = NDArray[np.float64]

SCALES = (1.0, 0.1, 3.0)
LONGEST_PREFIX = 3  # of names such as db or dLdb
MOVED = 0.1  # parameters away from their initial values, relative to their size


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
    passes = open_layer(layer, inputs, keywords, randomness)
    try:
        reports = []
        for number, scale in enumerate(scales):
            report = _checked(passes, scale, moved=number > 0, limit=limit, given=sizes, seed=seed + number).report
            reports.append(report)
            if not number and any(verdict.kind == "random" for verdict in report.verdicts):
                break
    finally:
        randomness.rewind()
    return replace(_combined(reports, scales), seed=seed, remarks=_remarks(reports, passes))


@dataclass(frozen=True)
class LayerCheck:
    """A layer at one point: the verdicts, and how the backward pass was called.

    ``left_over`` returned values were the gradient of nothing; a pass is ``linear`` if it gives nothing where nothing
    comes back.
    """

    report: GradientReport
    convention: str = ""
    left_over: int = 0
    linear: bool = False


def look_once(
    layer: Any, *inputs: Any, scale: float = 1.0, moved: bool = False, seed: int = 0, alone: int | None = None
) -> LayerCheck:
    """The layer at inputs of one size, as `check_layer` looks at it several times.

    Parameters
    ----------
    layer : pair of functions, or object with ``forward`` and ``backward``
        As for `check_layer`.
    *inputs : array or anything
        Arguments of the forward pass.
    scale : float
        Size, relative to ``inputs``, at which it is checked.
    moved : bool
        Whether the parameters of an object are moved away from their initial values.
    seed : int
        Chooses the upstream gradient and the directions.
    alone : int, optional
        The one element of the upstream gradient that is not 0, counted over all of them.

    Returns
    -------
    LayerCheck
        The verdicts, and how they were come by.

    Raises
    ------
    UsageError
        If there is no forward or backward pass, or it cannot be called.
    """
    randomness = Randomness()
    passes = open_layer(layer, inputs, {}, randomness)
    try:
        return _checked(passes, scale, moved=moved, limit=LIMIT_RELATIVE, given=None, seed=seed, alone=alone)
    finally:
        randomness.rewind()


# -- one check -------------------------------------------------------------------------------------------


def _checked(
    passes: Passes,
    scale: float,
    *,
    moved: bool,
    limit: float,
    given: Mapping[str, int] | None,
    seed: int,
    alone: int | None = None,
) -> LayerCheck:
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
        return LayerCheck(GradientReport(passes.subject, tuple(verdicts), float("nan"), 2, seed))
    if not point:
        raise UsageError(
            "there is nothing to differentiate: no input is an array of floats, and there are no parameters"
        )
    sizes = known_sizes(None, [Leaf((), name, values) for name, values in zip(passes.names, point, strict=True)], given)
    judges: dict[tuple[int, bool], tuple[Judge, list[Any]]] = {}
    best: LayerCheck | None = None
    failures: list[Exception] = []
    conventions = list(passes.conventions(run))
    usual = next((one for one in conventions if not one.text.startswith("dout * ")), None)
    for convention in conventions:
        outputs = outputs_of(run.result)[: convention.outputs]
        if not convention.upstream and any(output.size != 1 for output in outputs) and not passes.arguments.has_labels:
            continue
        key = (convention.outputs, convention.upstream)
        if key not in judges:
            judges[key] = _judge(passes, point, outputs, key, limit, sizes, seed, alone)
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
        report, left_over = _verdicts(passes, judge, candidates, seed)
        if convention is not usual:
            report = replace(report, remarks=(f"called as {convention.text}",))
        if convention.upstream and isinstance(passes, Functions) and "cache" in convention.text:
            report = _with_cache(passes, convention, report, point, upstream)
        if best is None or _rights(report) > _rights(best.report):
            best = LayerCheck(report, convention.text, left_over, _is_linear(passes, convention, point, upstream))
        if best.report.passed:
            break
    if best is None:
        text = f"{type(failures[0]).__name__}: {failures[0]}" if failures else "it returns no arrays and leaves none"
        raise UsageError(f"the backward pass of {passes.subject} gives no gradients: {text}") from (
            failures[0] if failures else None
        )
    return best


def _judge(
    passes: Passes,
    point: list[Array],
    outputs: list[Array],
    key: tuple[int, bool],
    limit: float,
    sizes: Mapping[str, int],
    seed: int,
    alone: int | None,
) -> tuple[Judge, list[Any]]:
    """A judge of the function <dout, forward(inputs)>, and that random dout, or what is left of it."""
    number, random = key
    generator = np.random.default_rng([seed, 23])
    upstream: list[Any] = [
        generator.standard_normal(output.shape) if random else np.ones(output.shape) for output in outputs
    ]
    if alone is not None:
        upstream = [np.where(np.arange(u.size).reshape(u.shape) == alone % max(u.size, 1), u, 0.0) for u in upstream]
    upstream = [float(u) if u.ndim == 0 else u for u in upstream]

    def value(values: list[Array]) -> float:
        results = outputs_of(passes.run(values).result)[:number]
        return float(sum(np.vdot(u, result) for u, result in zip(upstream, results, strict=True)))

    return Judge(Numeric(Function(value), point, seed=seed), limit=limit, sizes=sizes), upstream


def _verdicts(passes: Passes, judge: Judge, candidates: list[Candidate], seed: int) -> tuple[GradientReport, int]:
    """The verdicts, and how many returned values are the gradient of nothing."""
    chosen = _paired(passes, judge, candidates)
    taken = {candidate.order for candidate in chosen.values()}
    left_over = sum(candidate.order is not None and candidate.order not in taken for candidate in candidates)
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
    numeric = judge.numeric
    return GradientReport(passes.subject, tuple(verdicts), numeric.value, numeric.evaluations, seed), left_over


def _paired(passes: Passes, judge: Judge, candidates: list[Candidate]) -> dict[int, Candidate]:
    """Which value is which gradient: first those that are right, then multiples, then what is left by shape."""
    chosen: dict[int, Candidate] = {}
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
        is_own = candidate.place is not None and _is_named_after(words[-1], own[-1])
        return 0.0 if is_own and "step" not in words and "added" not in words else None

    for fits in (right, multiple, shape, size, left_over):
        take(fits)
    return chosen


def _is_named_after(word: str, name: str) -> bool:
    """Whether an attribute goes by the name of a parameter, such as ``db``, ``grad_b`` or ``to_bias``."""
    return word.endswith(name) and (len(name) > 1 or len(word) <= 1 + LONGEST_PREFIX or word[-2] == "_")


def _same_place(candidates: list[Candidate], number: int) -> Iterator[int]:
    """The candidate itself, and others that were read at the same place."""
    place = candidates[number].place
    yield number
    if place is not None:
        yield from (i for i, candidate in enumerate(candidates) if candidate.place == place)


def _with_cache(
    passes: Functions, convention: Convention, report: GradientReport, point: list[Array], upstream: list[Any]
) -> GradientReport:
    """A backward pass must not depend on forward passes that came after the one it belongs to."""

    def gradients(run: Run) -> list[Array]:
        returned = convention.call(run, [u.copy() if isinstance(u, np.ndarray) else u for u in upstream])
        return [candidate.value for candidate in returned_arrays(returned)]

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


def _is_linear(passes: Passes, convention: Convention, point: list[Array], upstream: list[Any]) -> bool:
    """Whether a backward pass gives nothing where nothing comes back: one that is handed labels does not."""
    if not convention.upstream:
        return False
    run = passes.run(point)
    try:
        with np.errstate(all="ignore"):
            returned = convention.call(run, [0.0 * u for u in upstream])
            return not any(np.any(candidate.value) for candidate in passes.candidates(run, returned, convention))
    except Exception:  # it does not even run
        return False


def _trouble(passes: Passes, run: Run, point: list[Array]) -> tuple[str, str] | None:
    """Kind and sentence of what keeps the forward pass from being differentiated."""
    outputs, again = outputs_of(run.result), outputs_of(passes.run(point).result)
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


def _remarks(reports: list[GradientReport], passes: Passes) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys([*(remark for report in reports for remark in report.remarks), *passes.arguments.remarks()])
    )


def _rights(report: GradientReport) -> tuple[int, int]:
    """How many gradients are right, and how many are multiples of the right one."""
    verdicts = report.verdicts
    return sum(v.verdict == "right" for v in verdicts), sum(v.kind == "factor" for v in verdicts)


def _unknown(name: str, values: Array, kind: str, reason: str) -> GradientVerdict:
    return GradientVerdict(name, "unknown", kind, reason, values.shape)


def _close(a: Array, b: Array) -> bool:
    scale = float(np.max(np.abs(b), initial=0.0))
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-9, atol=1e-12 * scale, equal_nan=True))
