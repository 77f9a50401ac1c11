"""Ways of calling a pair: which one makes most sense, and what its verdicts are worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from types import CodeType

from backprop_doctor.gradient_report import GradientReport, GradientVerdict
from backprop_doctor.judging import RESHAPED
from backprop_doctor.pairs.fillings import SAMPLES, Value, is_label, is_number, is_unlike_data
from backprop_doctor.records import Verdict

__all__ = ["Told", "Way", "is_better", "told", "unlikely"]

UNSURE = "nothing shows that it was called as it is meant to be: in no way that was tried it is right"
SAME = 1e-6


@dataclass(frozen=True)
class Way:
    """A way of calling something, and what came of it.

    Parameters
    ----------
    names : tuple of str
        The arguments that were filled.
    values : tuple of Value
        What they were filled with.
    report : GradientReport
        The verdicts.
    words : str
        The call as the report shows it.
    subject : str
        What was called.
    code : code object, optional
        Where the gradients are made.
    claims : dict of str to str
        Where the gradient of each name was found, if the report does not say.
    is_loss : bool
        Whether the gradients are those of one number, which may be a sum or an average.
    sure : bool
        Whether what is called the backward pass is one, called as it wants to be.
    misfits : int
        Arguments without gradient, gradients without argument.
    hidden : int
        Axes of length 1 and plain numbers where arrays could be: faults do not show there.
    lines : frozenset of int
        Lines that make the gradients and were run, where that is known.
    """

    names: tuple[str, ...]
    values: tuple[Value, ...]
    report: GradientReport
    words: str
    subject: str
    code: CodeType | None
    claims: dict[str, str] = field(default_factory=dict)
    is_loss: bool = False
    sure: bool = True
    misfits: int = 0
    hidden: int = 0
    lines: frozenset[int] = frozenset()

    @property
    def rights(self) -> int:
        """How many gradients are right."""
        return sum(_is_right(self, verdict) for verdict in self.report.verdicts)

    @property
    def wrongs(self) -> int:
        """How many gradients are wrong, conventions included."""
        return sum(verdict.verdict == "wrong" for verdict in self.report.verdicts)

    @property
    def passed(self) -> bool:
        """Whether every gradient is right, an average over the samples included."""
        return self.rights == len(self.report.verdicts) > 0

    @property
    def is_plain(self) -> bool:
        """Whether nothing better can be expected of another way."""
        return self.passed and not self.misfits and not self.hidden

    @property
    def is_odd(self) -> bool:
        """Whether what is called a weight has samples in it."""
        return any(
            value.kind == "array" and not value.shared and is_unlike_data(name)
            for name, value in zip(self.names, self.values, strict=False)
        )

    @property
    def is_alike(self) -> bool:
        """Whether all arrays that go in have one shape."""
        return len({value.shape for value in self.values if value.kind == "array"}) == 1

    @property
    def samples(self) -> int:
        """How many arguments have an axis of samples."""
        return sum(value.kind == "array" and not value.shared for value in self.values)


def unlikely(names: Sequence[str], values: Sequence[Value]) -> int:
    """How many arguments were given what their names do not suggest: a number or labels where an array may be."""
    return sum(
        (value.kind == "number" and not is_number(name)) or (value.is_labels and not is_label(name))
        for name, value in zip(names, values, strict=False)
    )


def is_better(way: Way, best: Way) -> bool:
    """Whether a way of calling explains more than the best so far.

    Where data of several kinds are needed to make everything right, they have to be alike: else a bias with one
    row for each sample would make a sum over the samples that was forgotten look right.
    """
    if way.misfits != best.misfits:
        return way.misfits < best.misfits and way.rights > 0
    if way.samples > best.samples and best.rights and not (way.is_alike and way.passed):
        return False
    if way.hidden != best.hidden and (best.rights or not way.samples) and (way.rights or way.hidden > best.hidden):
        return way.hidden < best.hidden
    return (way.passed, way.rights, -way.wrongs, not way.is_odd) > (
        best.passed,
        best.rights,
        -best.wrongs,
        not best.is_odd,
    )


@dataclass(frozen=True)
class Told:
    """A verdict in the light of the others of its pair; a note is right up to a convention."""

    verdict: Verdict
    reason: str
    note: bool = False


def told(way: Way, verdict: GradientVerdict) -> Told:
    """What a verdict means in a way of calling."""
    if verdict.verdict != "wrong":
        return Told(verdict.verdict, verdict.reason)
    if _is_right(way, verdict):
        return Told("right", verdict.reason, note=True)
    given = verdict.gradient_shape or ()
    if verdict.kind == "shape" and given and not verdict.shape:
        # Which argument a returned array belongs to was guessed, and to a number it does not.
        return Told("unknown", f"an array of shape {given} is no gradient of a single number")
    alike = _without_units(verdict.shape) == _without_units(given)
    if verdict.kind == "shape" and alike and verdict.reason.endswith(RESHAPED):
        return Told("right", verdict.reason)  # the shape of what was given is ours, not the program's
    if not way.sure and not way.rights and verdict.kind != "stale":
        return Told("unknown", f"{UNSURE} ({verdict.reason})")
    whole = [v.name for v in way.report.verdicts if v.verdict == "right" and v.shape and _is_shared(v)]
    if verdict.kind == "factor" and _is_shared(verdict) and whole and _is_average(_factor(verdict)):
        return Told("wrong", f"{verdict.reason}; that of {' and '.join(whole)} has no such factor")
    return Told("wrong", verdict.reason)


def _is_shared(verdict: GradientVerdict) -> bool:
    return not SAMPLES & set(verdict.shape)


def _without_units(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size != 1]


def _is_average(factor: float) -> bool:
    return any(_agrees(factor * n, 1.0) for n in SAMPLES)


def _is_right(way: Way, verdict: GradientVerdict) -> bool:
    """Whether a gradient is right, be it up to a convention: of an average, or of a loss that is one."""
    if verdict.verdict != "wrong":
        return verdict.verdict == "right"
    factor = verdict.factor_value or 0.0
    if verdict.kind != "factor" or factor <= 0:
        return False
    judged = [v for v in way.report.verdicts if v.kind == "factor" or v.verdict == "right"]
    if way.is_loss:
        return all(_agrees(_factor(v), factor) for v in judged) and _is_convention(factor, way.values)
    # A backward pass may average over the samples what they share, and has to do so with all of that.
    shared = [v for v in judged if v.shape and _is_shared(v)]
    return (
        verdict in shared
        and len(shared) < len(judged)
        and _is_average(factor)
        and all(_agrees(_factor(v), factor) for v in shared)
    )


def _is_convention(factor: float, values: Sequence[Value]) -> bool:
    """Whether a loss may have a factor: 2, and sizes of what it was given, all as multiples or all as divisors."""
    sizes = sorted({size for value in values for size in value.shape if size > 1})
    products = {1.0} | {float(math.prod(chosen)) for n in (1, 2) for chosen in combinations(sizes, n)}
    allowed = [two * size**sign for two in (0.5, 1.0, 2.0) for size in products for sign in (1, -1)]
    return any(_agrees(factor, number) for number in allowed)


def _factor(verdict: GradientVerdict) -> float:
    return verdict.factor_value if verdict.kind == "factor" and verdict.factor_value else 1.0


def _agrees(a: float, b: float) -> bool:
    return abs(a - b) <= SAME * max(abs(a), abs(b))
