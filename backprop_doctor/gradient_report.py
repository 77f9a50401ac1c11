"""What is said about gradients that were handed over to be checked: frozen records, and the words for them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from backprop_doctor.records import Verdict

__all__ = ["Entry", "GradientReport", "GradientVerdict"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a gradient: where, what was claimed, what was measured with which error and step."""

    index: tuple[int, ...]
    analytic: float
    numeric: float
    error: float
    step: float


@dataclass(frozen=True, slots=True)
class GradientVerdict:
    """Is one gradient right?

    ``kind`` says in one word what is wrong or in the way (``"factor"``, ``"sign"``, ``"transposed"``, ``"shape"``,
    ``"zero"``, ``"entries"``, ``"different"``, ``"kink"``, ``"noise"``, ``"random"``, ...), ``reason`` in a sentence.
    ``relative_error`` is dimensionless and judged against ``limit``; ``noise`` is the relative error that the
    noise of the function alone can make.  ``directions`` slopes were taken with ``steps`` from the smallest to
    the largest.  ``claim`` says where a gradient was found that nobody had to name.
    """

    name: str
    verdict: Verdict
    kind: str
    reason: str
    shape: tuple[int, ...]
    gradient_shape: tuple[int, ...] | None = None
    dtype: str = ""
    entries: int = 0
    relative_error: float | None = None
    limit: float = 0.0
    noise: float = 0.0
    factor: str | None = None
    factor_value: float | None = None
    worst: Entry | None = None
    directions: int = 0
    steps: tuple[float, float] | None = None
    kinks: int = 0
    claim: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class GradientReport:
    """The verdicts on all gradients of one function.

    ``value`` is the function at the point that was checked, ``evaluations`` how often it was called.
    True when every gradient is right, so that ``assert gradcheck(...)`` says what it means.
    """

    subject: str
    verdicts: tuple[GradientVerdict, ...]
    value: float
    evaluations: int
    seed: int
    remarks: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether there are gradients and every one of them is right; what cannot be told is no pass."""
        return bool(self.verdicts) and all(verdict.verdict == "right" for verdict in self.verdicts)

    def __bool__(self) -> bool:
        return self.passed

    def __getitem__(self, name: str) -> GradientVerdict:
        for verdict in self.verdicts:
            if verdict.name == name:
                return verdict
        raise KeyError(f"{name}; there are {', '.join(verdict.name for verdict in self.verdicts)}")

    def check(self) -> GradientReport:
        """Raise `AssertionError` with the whole story unless every gradient is right; else return the report.

        Raises
        ------
        AssertionError
            If a gradient is wrong, or cannot be judged.
        """
        __tracebackhide__ = True
        if not self.passed:
            raise AssertionError(str(self))
        return self

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data for JSON; numbers that are not finite become None."""
        return {"passed": self.passed, **_plain(self)}

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def __repr__(self) -> str:
        return f"<GradientReport: {_counts(self)}>"


WORDS = {"right": "right", "wrong": "wrong", "unknown": "cannot tell"}
LABEL_WIDTH = 7


def _lines(report: GradientReport) -> list[str]:
    lines = [f"{report.subject}: {_counts(report)}"]
    order = {"wrong": 0, "unknown": 1, "right": 2}
    width = max((len(verdict.name) for verdict in report.verdicts), default=0)
    for verdict in sorted(report.verdicts, key=lambda v: order[v.verdict]):
        if verdict.verdict == "right":
            lines.append(f"  {verdict.name:{width}}  right  {verdict.reason}")
        else:
            lines += [f"  {verdict.name:{width}}  {WORDS[verdict.verdict]}: {verdict.reason}", *_details(verdict)]
    lines += [_labelled("note", remark) for remark in report.remarks]
    if not report.passed:
        lines.append(_labelled("again", f"seed={report.seed}, or pytest --backprop-seed {report.seed}"))
    return lines


def _details(verdict: GradientVerdict) -> list[str]:
    lines = []
    if verdict.gradient_shape is not None:
        shapes = f"{verdict.name} is {verdict.shape}, its gradient {verdict.gradient_shape} {verdict.dtype}"
        lines.append(_labelled("shape", shapes))
    if verdict.relative_error is not None:
        noise = f", noise {verdict.noise:.0e}" if verdict.noise else ""
        lines.append(_labelled("error", f"{verdict.relative_error:.3g} relative; limit {verdict.limit:.0e}{noise}"))
    if verdict.worst is not None:
        worst = verdict.worst
        text = f"{list(worst.index)}: gradient {worst.analytic:.6g}, numeric {worst.numeric:.6g} +- {worst.error:.0e}"
        lines.append(_labelled("worst", text))
    if verdict.steps is not None:
        how = "every entry" if verdict.directions == verdict.entries else f"{verdict.directions} directions"
        lines.append(_labelled("steps", f"{how}, steps {verdict.steps[0]:.1g} to {verdict.steps[1]:.1g}"))
    return lines


def _labelled(label: str, text: str) -> str:
    return f"    {label:{LABEL_WIDTH}}{text}"


def _counts(report: GradientReport) -> str:
    verdicts = [verdict.verdict for verdict in report.verdicts]
    said = [f"{verdicts.count(word)} {text}" for word, text in WORDS.items() if word in verdicts]
    if not said:
        return "nothing was checked"
    number, _, rest = said[0].partition(" ")
    return ", ".join([f"{number} gradient{'' if number == '1' else 's'} {rest}", *said[1:]])


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
