"""Ways of calling a pair of functions or methods whose backward pass is given what comes back from above."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backprop_doctor.errors import UsageError
from backprop_doctor.gradient_report import GradientReport
from backprop_doctor.layer_check import LayerCheck, look_once
from backprop_doctor.pairs.calling import best_way, copies, first_output, lines_run, responds
from backprop_doctor.pairs.definitions import PROBLEMS, Definitions, code_of
from backprop_doctor.pairs.fillings import D, Settings, Value, fillings, fresh, spelled
from backprop_doctor.pairs.partners import Pair
from backprop_doctor.pairs.ways import Way, is_better, unlikely

__all__ = ["layer_ways"]

SCALES = (1.0, 0.1, 3.0)
SCALES_OF_FRACTIONS = (1.0, 0.5)
SMALL_CONSTANT = 1e-2  # what an epsilon in a logarithm can do where probabilities become small
ONE_BY_ONE = "it is right for one sample at a time, and wrong for several"
ONE_ELEMENT = "it is right as long as one element alone of what comes back is not 0, and wrong for several"
ELEMENTS = 100
MUTE = frozenset({"no effect", "negligible", "missing", "not finite"})  # of what depends on nothing that was given


def layer_ways(pair: Pair, defined: Definitions, *, seed: int, until: float) -> list[Way] | str:
    """The best way of calling a pair, one for each form of labels and each text it tells apart, or why there is none.

    Parameters
    ----------
    pair : Pair
        What is called.
    defined : Definitions
        The program that it belongs to.
    seed : int
        Start of all randomness.
    until : float
        Thread time in seconds at which to stop.
    """
    choices = defined.choices(pair.forward)
    caller = _Caller(pair, seed)
    names = [*pair.made, *pair.given]

    def search(texts: dict[str, Sequence[str]]) -> Way | str:
        caller.single = None
        worlds = fillings(names, len(pair.made), texts)
        found = best_way(worlds, names, (pair.forward, pair.backward), caller.attempt, seed=seed, until=until)
        return caller.settled(found) if isinstance(found, Way) else found

    asked = [name for name in pair.given if name in choices]
    if not asked:
        found = search({})
        if isinstance(found, str):
            return found
        return [caller.followed(way) for way in (found, *caller.in_other_form(found))]
    ways = [search({asked[0]: [text]}) for text in choices[asked[0]]]
    return [caller.followed(way) for way in ways if isinstance(way, Way)] or next(
        way for way in ways if isinstance(way, str)
    )


@dataclass
class _Caller:
    """Calls a pair in one way after the other."""

    pair: Pair
    seed: int
    single: Way | None = None  # for one sample that is a column

    def attempt(self, values: tuple[Value, ...], given: list[Any]) -> Way | None:
        """One way of calling the pair, with fractions where it is a loss that wants them; raises what it raises."""
        way = self._tried(values, given)
        if any(value.is_labels for value in values) and not (way and way.passed):
            squeezed = tuple(replace(value, fractions=value.kind == "array") for value in values)
            within = [
                0.5 + 0.4 * np.tanh(one) if value.fractions else one for one, value in zip(given, squeezed, strict=True)
            ]
            other = self._tried(squeezed, within)
            if other is not None and (way is None or is_better(other, way)):
                way = other
        if (
            way
            and way.passed
            and any(value.shape == (D, 1) and value.kind == "array" for value in values)
            and any(verdict.kind not in MUTE for verdict in way.report.verdicts)
        ):
            self.single = self.single or way
        return way

    def settled(self, way: Way) -> Way:
        """Doubt what may only be wrong because several samples were given to what is made for one."""
        single = self.single
        if way.passed or single is None or way is single:
            return way
        right = {(verdict.name, verdict.shape) for verdict in single.report.verdicts if verdict.verdict == "right"}
        verdicts = tuple(
            replace(verdict, verdict="unknown", reason=f"{ONE_BY_ONE} ({verdict.reason})")
            if (verdict.kind == "shape" and (verdict.name, verdict.shape) in right)
            or (verdict.verdict == "wrong" and verdict.kind != "factor" and not way.rights)
            else verdict
            for verdict in way.report.verdicts
        )
        return replace(way, report=replace(way.report, verdicts=verdicts))

    def in_other_form(self, way: Way) -> list[Way]:
        """The same call with labels in the other form, if it makes the same of them."""
        data = next((value.shape for value in way.values if value.kind == "array" and len(value.shape) == 2), (0, 0))
        numbers, hot = Value("labels", data[:1], integer=True), Value("target", data)
        places = [i for i, value in enumerate(way.values) if value in (numbers, hot)]
        if len(places) != 1:
            return []
        place = places[0]
        generator = np.random.default_rng([self.seed, 29])
        given = [fresh(value, generator) for value in way.values]
        values, other = list(way.values), copies(given)
        to_hot = values[place] == numbers
        values[place] = hot if to_hot else numbers
        other[place] = np.eye(data[1], dtype=int)[given[place]] if to_hot else given[place].argmax(axis=1)
        try:
            if not np.allclose(self._output(given), self._output(other), rtol=1e-9):
                return []
            found = self._tried(tuple(values), other)
        except (*PROBLEMS, UsageError):
            return []
        return [found] if found is not None and not found.passed else []

    def followed(self, way: Way) -> Way:
        """The same way, with the lines of the backward pass that it runs, if something is wrong there."""
        if not way.wrongs:
            return way
        generator = np.random.default_rng([self.seed, 29])
        given = [fresh(value, generator) for value in way.values]
        made = len(self.pair.made)
        if not way.is_loss and self._is_made_for_one(given):
            verdicts = (
                replace(v, verdict="unknown", reason=f"{ONE_ELEMENT} ({v.reason})") if v.verdict == "wrong" else v
                for v in way.report.verdicts
            )
            return replace(way, report=replace(way.report, verdicts=tuple(verdicts)))
        return replace(
            way, lines=lines_run(self.pair.backward, lambda: look_once(self._passes(given), *copies(given)[made:]))
        )

    def _is_made_for_one(self, given: Sequence[Any]) -> bool:
        """Whether all is right where one element alone comes in, as it does behind the logarithm of one probability."""
        made = len(self.pair.made)
        size = int(np.size(self._output(given)))
        if not 1 < size <= ELEMENTS:
            return False
        try:
            return all(
                look_once(self._passes(given), *copies(given)[made:], moved=True, seed=self.seed, alone=i).report.passed
                for i in range(size)
            )
        except (*PROBLEMS, UsageError):
            return False

    def _output(self, given: Sequence[Any]) -> Any:
        forward, _ = self._passes(given)
        return first_output(forward(*copies(given)[len(self.pair.made) :]))

    def _passes(self, given: Sequence[Any]) -> tuple[Any, Any]:
        pair = self.pair
        if pair.owner is None or pair.is_static:
            return pair.forward, pair.backward
        owner = pair.owner(*copies(given)[: len(pair.made)])
        return getattr(owner, pair.forward.__name__), getattr(owner, pair.backward.__name__)

    def _tried(self, values: tuple[Value, ...], given: list[Any]) -> Way | None:
        pair, made = self.pair, len(self.pair.made)
        inputs, kinds = given[made:], values[made:]
        forward, backward = self._passes(given)
        if not pair.related and not isinstance(forward(*copies(inputs)), tuple):
            return None  # any function that reshapes would do
        has_object = pair.owner is not None and not pair.is_static
        if not has_object and not responds(forward, inputs, kinds):
            return None
        inputs = [Settings(value.asked) if isinstance(value, Settings) else value for value in inputs]
        first, *others = SCALES_OF_FRACTIONS if any(value.fractions for value in kinds) else SCALES
        check = look_once((forward, backward), *inputs, scale=first, moved=True, seed=self.seed)
        report = check.report
        if all(verdict.kind in MUTE for verdict in report.verdicts):
            return None
        is_loss = any(value.is_labels for value in kinds)
        if is_loss and not _is_loss(forward, inputs, kinds):
            return None
        sure = self._is_sure(check, [*given[:made], *inputs], is_loss=is_loss)
        for scale in others if report.passed else ():
            other = look_once(self._passes(given), *inputs, scale=scale, moved=True, seed=self.seed)
            if other.convention == check.convention:  # else it was understood in another way
                report = _joined(report, other.report, scale)
        report = _without_settings(report, pair.given, kinds)
        missing = sum(verdict.kind == "missing" for verdict in report.verdicts)
        way = Way(
            names=(*pair.made, *pair.given),
            values=values,
            report=report,
            words=self._words(values, [*given[:made], *inputs]),
            subject=pair.name,
            code=code_of(pair.backward),
            claims=dict.fromkeys([v.name for v in report.verdicts], f"returned if {pair.flag}") if pair.flag else {},
            is_loss=is_loss,
            sure=sure,
            misfits=missing + check.left_over + unlikely((*pair.made, *pair.given), values),
            hidden=sum(v.kind in ("number", "words") for v in values) + _invisible_axes(forward, inputs, kinds),
        )
        is_told = pair.related or (way.samples and 2 * way.rights > len(report.verdicts))
        return way if is_told else None

    def _words(self, values: Sequence[Value], given: Sequence[Any]) -> str:
        pair, made = self.pair, len(self.pair.made)
        said = list(map(spelled, [*pair.made, *pair.given], given, values))
        call = f"{pair.forward.__name__}({', '.join(said[made:])}) and {pair.backward.__name__}"
        return f"{pair.name}({', '.join(said[:made])}).{call}" if pair.owner else call

    def _is_sure(self, check: LayerCheck, given: Sequence[Any], *, is_loss: bool) -> bool:
        """Whether the backward pass is called as it wants to be; one that is right is."""
        if check.report.passed or not self.pair.related:
            return check.report.passed
        if is_loss:
            return check.convention in ("backward()", "backward(*inputs)")
        if check.convention.startswith("dout * "):
            return len(self.pair.given) == 1 and _is_pointwise(self._passes(given)[0], given[len(self.pair.made)])
        # A function that is handed neither input nor output can be the whole of few backward passes.
        return check.linear and (self.pair.owner is not None or check.convention != "backward(dout)")


def _joined(first: GradientReport, other: GradientReport, scale: float) -> GradientReport:
    """What is right at one size of the inputs, and clearly wrong at another, is wrong."""
    seen = {verdict.name: verdict for verdict in other.verdicts}
    verdicts = []
    for verdict in first.verdicts:
        there = seen.get(verdict.name, verdict)
        if there.verdict == "wrong" and (there.relative_error or 1.0) > SMALL_CONSTANT:
            verdict = replace(there, reason=f"with inputs {scale:g} times as large, {there.reason}")
        verdicts.append(verdict)
    known = {verdict.name for verdict in verdicts}
    stale = [verdict for name, verdict in seen.items() if name not in known and verdict.kind == "stale"]
    return replace(first, verdicts=(*verdicts, *stale))


def _without_settings(report: GradientReport, names: Sequence[str], values: Sequence[Value]) -> GradientReport:
    """Leave out what nobody expects a gradient of."""
    plain = {name for name, value in zip(names, values, strict=True) if value.kind != "array" and value.shape == ()}
    kept = tuple(v for v in report.verdicts if not (v.kind == "missing" and v.name in plain))
    return replace(report, verdicts=kept)


def _invisible_axes(forward: Any, inputs: Sequence[Any], values: Sequence[Value]) -> int:
    """How many arrays have an axis of length 1 that is not spread over the output, as that of a bias is."""
    found = 0
    for i, value in enumerate(values):
        if value.kind == "array" and 1 in value.shape:
            if np.size(inputs[i]) == 1:
                found += 1
                continue
            try:
                plain = first_output(forward(*copies(inputs)))
                spread = copies(inputs)
                spread[i] = np.broadcast_to(inputs[i], plain.shape).copy()
                same = np.array_equal(first_output(forward(*spread)), plain)
                found += not same or spread[i].size == np.size(inputs[i])
            except PROBLEMS:
                found += 1
    return found


def _is_pointwise(forward: Any, value: Any) -> bool:
    """Whether each entry of the output depends on the entry of the input at its place alone."""
    plain = first_output(forward(*copies([value])))
    if plain is None or plain.shape != np.shape(value) or not plain.ndim:
        return False
    moved = np.array(value)
    moved.flat[0] += 0.5
    changed = first_output(forward(moved)) != plain
    return not np.any(changed.flat[1:])


def _is_loss(forward: Any, inputs: Sequence[Any], values: Sequence[Value]) -> bool:
    """Whether a forward pass that is given labels gives one number, or one for each sample or entry of them."""
    output = first_output(forward(*copies(inputs)))
    shapes = [value.shape for value in values if value.is_labels]
    return output is not None and (output.size == 1 or any(output.shape in (s, s[:1]) for s in shapes))
