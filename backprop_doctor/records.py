"""The nouns: what is said about a program, as frozen records without logic.

Everything here is plain data: it crosses from the checking process to the reporting one as JSON
and nothing in it refers to numpy.  Lines and columns are 1-based and refer to the user's file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning", "note"]
Status = Literal["confirmed", "suspected"]
Verdict = Literal["right", "wrong", "unknown"]
Role = Literal["forward", "loss", "backward", "update", "metric"]


@dataclass(frozen=True, slots=True)
class Position:
    """A stretch of the user's text; ``cell`` is set in notebooks only."""

    path: str
    line: int
    column: int
    end_line: int
    end_column: int
    cell: int | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """One number from a run, with what it had to be."""

    what: str
    seen: str
    expected: str


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the text at ``position`` by ``replacement``; nothing else changes."""

    position: Position
    replacement: str


@dataclass(frozen=True, slots=True)
class Fix:
    """A change that mends a finding: ``verified`` by running it, only ``offered``, or ``none``."""

    status: Literal["verified", "offered", "none"] = "none"
    summary: str = ""
    edits: tuple[Edit, ...] = ()
    diff: str | None = None
    proof: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault at one place.

    ``label`` is the short remark under the caret, ``message`` what was seen in one sentence, ``why``
    one line of derivation with shapes, ``symptoms`` what follows from this root cause.
    """

    code: str
    name: str
    severity: Severity
    status: Status
    position: Position
    message: str
    label: str = ""
    why: str = ""
    evidence: tuple[Evidence, ...] = ()
    fix: Fix = field(default_factory=Fix)
    symptoms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ParameterVerdict:
    """Is the gradient of one parameter right?  ``relative_error`` is dimensionless."""

    name: str
    line: int
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    gradient: str | None
    verdict: Verdict
    relative_error: float | None
    factor: str | None
    reason: str
    path: str = ""
    cell: int | None = None


@dataclass(frozen=True, slots=True)
class LineVerdict:
    """One of the program's own lines in the chart."""

    path: str
    line: int
    target: str
    role: Role
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    verdict: Verdict
    meaning: str
    relative_error: float | None = None
    cell: int | None = None


@dataclass(frozen=True, slots=True)
class DataRole:
    """Inputs, labels or output: the name they go by, and what their axes mean."""

    name: str
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss the gradients are judged against; ``implied`` when the program computes none."""

    name: str | None
    line: int | None
    kind: Literal["declared", "implied", "none"]
    formula: str | None


@dataclass(frozen=True, slots=True)
class Metric:
    """The accuracy the program reports, beside the one recomputed; both are fractions (0 to 1).

    ``counts_hits`` says that it was seen to grow with the share of right predictions, and with nothing else;
    ``is_share`` that it is no whole number for all predictions, as a count is.
    """

    name: str
    line: int
    reported: float | None
    recomputed: float | None
    path: str = ""
    cell: int | None = None
    counts_hits: bool = False
    is_share: bool = False


@dataclass(frozen=True, slots=True)
class Network:
    """What was found in the program by running it."""

    parameters: tuple[ParameterVerdict, ...] = ()
    inputs: DataRole | None = None
    labels: DataRole | None = None
    output: DataRole | None = None
    loss: Loss | None = None
    metric: Metric | None = None


@dataclass(frozen=True, slots=True)
class ProgramFix:
    """All verified edits together, and the accuracy of the program with and without them.

    ``digest`` is the SHA-256 of the file the edits belong to, or of the digests of several, in the order of their
    paths; ``proof`` says what was run.
    """

    status: Literal["verified", "partial", "none"]
    diff: str | None
    accuracy_before: float | None
    accuracy_after: float | None
    edits: tuple[Edit, ...] = ()
    digest: str = ""
    proof: str = ""


@dataclass(frozen=True, slots=True)
class Unchecked:
    """What could not be judged, and why: printed and counted, never a pass."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class FileReport:
    """Everything said about one checked program; ``seconds`` is wall time.

    ``modules`` are the other files of the user's that it imports and that were checked with it; ``asked`` are the
    codes of the rules that looked at its runs to the end: where one of them found nothing, that is an answer.
    """

    path: str
    verdict: Literal["healthy", "faulty", "unknown"]
    ran: bool
    seconds: float
    network: Network | None = None
    lines: tuple[LineVerdict, ...] = ()
    findings: tuple[Finding, ...] = ()
    fix: ProgramFix | None = None
    unchecked: tuple[Unchecked, ...] = ()
    remarks: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one ``check``: one entry a program."""

    files: tuple[FileReport, ...]
