"""What a gradient check says: one verdict a parameter, as frozen records that become plain data."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

from backprop_doctor.records import Verdict

__all__ = ["Entry", "Fault", "GradientError", "GradientReport", "GradientVerdict"]

Fault = Literal[
    "factor", "sign", "zero", "not zero", "transposed", "entries", "shape", "missing", "not finite", "direction"
]


class GradientError(AssertionError):
    """A gradient is wrong, or could not be judged where a verdict was demanded; ``report`` has the numbers."""

    def __init__(self, report: GradientReport, message: str = "") -> None:
        super().__init__(message or str(report))
        self.report = report


@dataclass(frozen=True, slots=True)
class Entry:
    """The entry that is furthest off: its index, the value given and the numeric one.

    For a gradient with many entries the place may be a random direction; then ``index`` is None and the
    values are derivatives along it.
    """

    index: tuple[int, ...] | None
    analytic: float
    numeric: float


@dataclass(frozen=True, slots=True)
class GradientVerdict:
    """Is one gradient right?

    Attributes
    ----------
    name : str
        The parameter or input.
    shape, gradient_shape : tuple of int
        Of the parameter, and of the gradient given; None if there is none.
    verdict : str
        ``"right"``, ``"wrong"`` or ``"unknown"`` (cannot tell).
    reason : str
        Why, in one sentence.
    fault : str or None
        What is wrong, in a word: ``"factor"``, ``"sign"``, ``"zero"``, ``"not zero"``, ``"transposed"``,
        ``"entries"``, ``"shape"``, ``"missing"``, ``"not finite"`` or ``"direction"``.
    factor : str or None
        What the gradient was multiplied by, as a formula: ``"2"``, ``"-1"``, ``"1/97"``; ``"1"`` if right.
    relative_error : float or None
        Largest difference between analytic and numeric values over their size, dimensionless.
    limit : float
        Largest relative error that counts as right, with rounding as it was found.
    worst : Entry or None
        Where the error is largest.
    entries, directions : int
        How many entries and random directions were judged.
    kinks : int
        How many were left out because the loss has a kink there.
    steps : tuple of float
        The finest differences that were used at the worst place, in units of the parameter.
    """

    name: str
    shape: tuple[int, ...]
    gradient_shape: tuple[int, ...] | None
    verdict: Verdict
    reason: str
    fault: Fault | None = None
    factor: str | None = None
    relative_error: float | None = None
    limit: float = 0.0
    worst: Entry | None = None
    entries: int = 0
    directions: int = 0
    kinks: int = 0
    steps: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class GradientReport:
    """The verdicts on all gradients of one loss or layer; true in a condition if all of them are right.

    Attributes
    ----------
    gradients : tuple of GradientVerdict
        One a parameter or input.
    loss : float or None
        The loss at the point of the check.
    noise : float or None
        Rounding noise of the loss as it was measured, in units of the loss.
    evaluations : int
        How often the loss was computed.
    seed : int
        Start of the random directions.
    remarks : tuple of str
        What else was noticed.
    """

    gradients: tuple[GradientVerdict, ...]
    loss: float | None = None
    noise: float | None = None
    evaluations: int = 0
    seed: int = 0
    remarks: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """``"wrong"`` if any gradient is, else ``"unknown"`` if any could not be judged, else ``"right"``."""
        verdicts = {gradient.verdict for gradient in self.gradients}
        return "wrong" if "wrong" in verdicts else "right" if verdicts == {"right"} else "unknown"

    def __bool__(self) -> bool:
        return self.verdict == "right"

    def __getitem__(self, name: str) -> GradientVerdict:
        for gradient in self.gradients:
            if gradient.name == name:
                return gradient
        raise KeyError(f"{name!r}; there are {', '.join(gradient.name for gradient in self.gradients)}")

    def __repr__(self) -> str:
        from backprop_doctor.gradient_check import wording

        return f"<GradientReport {wording.summary(self)}>"

    def __str__(self) -> str:
        from backprop_doctor.gradient_check import wording

        return wording.render(self)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data that `json` can write; numbers that are not finite become None."""
        data: dict[str, Any] = _plain(dataclasses.asdict(self))
        return {"verdict": self.verdict, **data}

    def raise_unless_right(self) -> None:
        """Do nothing if all gradients are right.

        Raises
        ------
        GradientError
            If one is wrong or could not be judged; an AssertionError.
        """
        if not self:
            raise GradientError(self)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
