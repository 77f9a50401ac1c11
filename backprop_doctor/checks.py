"""The report on a program as a list of checks, each with a name that can be read, graded and selected.

The list depends on what the program has, not on what is wrong with it, so that marks of several programs
can be compared: that it runs, the gradient of each parameter, and the aspects of the table below.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from backprop_doctor.records import FileReport, Finding, ParameterVerdict, Role, Verdict

__all__ = ["Check", "Checkup", "checks"]

CODE = re.compile(r"\bBD\d{3}\b")
LINE = re.compile(r"\bline (\d+)")


@dataclass(frozen=True, slots=True)
class Check:
    """One question to a program, and the answer.

    ``findings`` are the errors that made it fail, ``remarks`` the warnings and notes about the same thing,
    ``properties`` names and values for a test server.
    """

    name: str
    verdict: Verdict
    reason: str = ""
    findings: tuple[Finding, ...] = ()
    remarks: tuple[Finding, ...] = ()
    properties: tuple[tuple[str, str], ...] = ()

    @property
    def headline(self) -> str:
        """What failed in one line, the place first: a list of failures shows no more of it than fits."""
        if not self.findings:
            return self.reason
        first, *others = self.findings
        cell = f"cell {first.position.cell}, " if first.position.cell else ""
        where = f"{cell}line {first.position.line}"
        more = f", and {len(others)} more" if others else ""
        return f"{where}: {first.label or first.message} ({first.code}{more})"


@dataclass(frozen=True, slots=True)
class Checkup:
    """A program that was checked: the report, and its checks by name."""

    file: FileReport
    checks: tuple[Check, ...]
    seed: int = 0
    call: str | None = None

    @property
    def passed(self) -> bool:
        """Whether every check is right; what cannot be told is no pass."""
        return all(check.verdict == "right" for check in self.checks)

    def __bool__(self) -> bool:
        return self.passed

    def named(self, pattern: str = "*") -> tuple[Check, ...]:
        """The checks whose name is this, or matches it with ``*`` and ``?``."""
        return tuple(c for c in self.checks if c.name == pattern or fnmatchcase(c.name, pattern))

    def check(self, *patterns: str) -> Checkup:
        """Raise `AssertionError` with the findings unless all checks of these names are right.

        Parameters
        ----------
        *patterns : str
            Names such as ``"gradient of W1"``, with ``*`` and ``?`` where you like; by default all.

        Raises
        ------
        AssertionError
            If a check is wrong or cannot be told, or the program has none of that name.
        """
        __tracebackhide__ = True
        wanted: list[Check] = []
        for pattern in patterns or ("*",):
            found = self.named(pattern)
            if not found and pattern in UNASKED and self.named("runs")[0].verdict == "right":
                continue
            if not found:
                runs = self.named("runs")
                # A program that does not run has no other checks; that is what has to be said.
                found = tuple(c for c in runs if c.verdict != "right")
            if not found:
                names = ", ".join(check.name for check in self.checks)
                raise AssertionError(f"{self.file.path} has no check {pattern}; there are {names}")
            wanted += found
        failed = [check for check in dict.fromkeys(wanted) if check.verdict != "right"]
        if failed:
            raise AssertionError(
                "\n\n".join(f"{self.file.path}: {check.name}: {self.explain(check)}" for check in failed)
            )
        return self

    def explain(self, check: Check, width: int = 100) -> str:
        """Why a check is not right: the place and the fault in one line, then each finding in full."""
        from backprop_doctor.reports import View
        from backprop_doctor.reports.text import render_findings

        view = View(width=width, seed=self.seed, call=self.call)
        word = {"right": "right", "wrong": "wrong", "unknown": "cannot tell"}[check.verdict]
        findings = check.findings or (check.remarks if check.verdict != "right" else ())
        return "\n\n".join([check.headline or word, *render_findings(findings, self.file.path, view)])


def checks(file: FileReport, *, strict: bool = False) -> tuple[Check, ...]:
    """What was asked of a program, and the answers.

    Parameters
    ----------
    file : FileReport
        What `checking.check` said about it.
    strict : bool
        Whether warnings fail too.
    """
    if not file.ran:
        return (Check("runs", "wrong", "; ".join(unchecked.why for unchecked in file.unchecked)),)
    counted = {"error", "warning"} if strict else {"error"}
    left = {id(finding): finding for finding in file.findings}
    found = [_runs(file), *_gradients(file, left, counted), *_aspects(file, left, counted)]
    judged = {check.name for check in found}
    for unchecked in file.unchecked:
        if unchecked.what not in judged and not unchecked.what.startswith("gradient of "):
            found.append(Check(unchecked.what, "unknown", unchecked.why))
    return tuple(_unique(found))


def _runs(file: FileReport) -> Check:
    properties = (("seconds", f"{file.seconds:.2f}"),)
    if file.verdict == "unknown":
        why = "; ".join(unchecked.why for unchecked in file.unchecked) or "no gradient was found"
        return Check("runs", "wrong", f"it runs, but nothing could be judged: {why}", properties=properties)
    return Check("runs", "right", properties=properties)


def _gradients(file: FileReport, left: dict[int, Finding], counted: set[str]) -> Iterator[Check]:
    """One check a parameter; a finding that explains several is told at each, and at no other aspect."""
    claimed: set[int] = set()
    for parameter in file.network.parameters if file.network else ():
        named = tuple(f for f in left.values() if f.severity in counted and _explains(f, parameter))
        claimed.update(map(id, named))
        properties = {
            "gradient": parameter.gradient,
            "factor": parameter.factor,
            "relative_error": None if parameter.relative_error is None else f"{parameter.relative_error:.1e}",
        }
        yield Check(
            name=f"gradient of {parameter.name}",
            verdict=parameter.verdict,
            reason=parameter.reason if parameter.verdict != "right" else "",
            findings=named if parameter.verdict == "wrong" else (),
            properties=tuple((name, value) for name, value in properties.items() if value is not None),
        )
    for key in claimed:
        del left[key]


def _explains(finding: Finding, parameter: ParameterVerdict) -> bool:
    if parameter.verdict != "wrong" or finding.code not in CODE.findall(parameter.reason):
        return False
    lines = [int(line) for line in LINE.findall(parameter.reason)]
    return not lines or finding.position.line in lines


@dataclass(frozen=True)
class _Aspect:
    """Findings whose codes start alike belong together, and the question is asked where ``asked`` says so."""

    code: str
    name: str
    asked: Callable[[FileReport], bool] = lambda file: False


def _has(role: Role) -> Callable[[FileReport], bool]:
    return lambda file: any(line.role == role for line in file.lines)


def _has_probabilities(file: FileReport) -> bool:
    loss = file.network.loss if file.network else None
    return bool(loss and loss.formula == "cross-entropy")


def _has_metric(file: FileReport) -> bool:
    return bool(file.network and file.network.metric)


# The longest code that fits a finding decides.
ASPECTS = (
    _Aspect("BD102", "softmax normalises over classes", _has_probabilities),
    _Aspect("BD103", "softmax normalises over classes"),
    _Aspect("BD104", "softmax normalises over classes"),
    _Aspect("BD1", "forward pass", _has("forward")),
    _Aspect("BD2", "loss", _has("loss")),
    _Aspect("BD3", "backward pass"),
    _Aspect("BD4", "update", _has("update")),
    _Aspect("BD5", "reported accuracy", _has_metric),
    _Aspect("BD6", "data"),
    _Aspect("BD7", "numbers stay finite", _has("forward")),
    _Aspect("BD8", "training"),
    _Aspect("", "other findings"),
)


# Of these, nothing is said when nothing was found; the others are missing when the program has nothing of the kind.
UNASKED = frozenset({"backward pass", "data", "other findings", "softmax normalises over classes", "training"})


def _aspects(file: FileReport, left: dict[int, Finding], counted: set[str]) -> Iterator[Check]:
    grouped: dict[str, list[Finding]] = {aspect.name: [] for aspect in ASPECTS if aspect.asked(file)}
    for finding in left.values():
        fitting = max((a for a in ASPECTS if finding.code.startswith(a.code)), key=lambda a: len(a.code))
        if finding.severity in counted or fitting.name in grouped:
            grouped.setdefault(fitting.name, []).append(finding)
    for name in dict.fromkeys(aspect.name for aspect in ASPECTS):
        if name in grouped:
            failing = tuple(f for f in grouped[name] if f.severity in counted)
            remarks = tuple(f for f in grouped[name] if f.severity not in counted)
            yield _aspect(file, name, failing, remarks)


def _aspect(file: FileReport, name: str, failing: tuple[Finding, ...], remarks: tuple[Finding, ...]) -> Check:
    metric = file.network.metric if file.network and name == "reported accuracy" else None
    properties: tuple[tuple[str, str], ...] = ()
    if metric:
        numbers = (("reported", metric.reported), ("recomputed", metric.recomputed))
        properties = tuple((key, f"{value:.4f}") for key, value in numbers if value is not None)
    if failing:
        return Check(name, "wrong", failing[0].message, failing, remarks, properties)
    if metric and metric.recomputed is None:
        return Check(name, "unknown", "it could not be recomputed from output and labels", (), remarks, properties)
    return Check(name, "right", "", (), remarks, properties)


def _unique(found: list[Check]) -> Iterator[Check]:
    """Parameters of one name, such as those of layers in a loop, are counted."""
    seen: dict[str, int] = {}
    total = [check.name for check in found]
    for check in found:
        seen[check.name] = seen.get(check.name, 0) + 1
        if total.count(check.name) == 1:
            yield check
        else:
            name = f"{check.name} ({seen[check.name]})"
            yield Check(name, check.verdict, check.reason, check.findings, check.remarks, check.properties)
