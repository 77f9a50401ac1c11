"""The chart of one program: its own lines with shapes, the names of the axes, and a verdict each."""

from __future__ import annotations

import os
from dataclasses import dataclass

from backprop_doctor.checking import Options, check_file, programs
from backprop_doctor.errors import CannotCheckError, UsageError
from backprop_doctor.records import FileReport, LineVerdict, Network, Report

__all__ = ["Chart", "trace"]


@dataclass(frozen=True, slots=True)
class Chart:
    """The lines of a program that bind its values, in their order; as text, the chart itself."""

    path: str
    lines: tuple[LineVerdict, ...]
    network: Network | None
    report: FileReport

    def __str__(self) -> str:
        from backprop_doctor.reports import View, render

        return render(Report((self.report,)), "text", View(chart=True, findings=False))


def trace(
    path: str | os.PathLike[str],
    *,
    call: str | None = None,
    seed: int = 0,
    time_limit_seconds: float = 60.0,
    memory_limit_mib: int = 4096,
) -> Chart:
    """Run a program and say of each of its lines what it makes, and whether that is right.

    Parameters
    ----------
    path : str or path-like
        The program.
    call : str, optional
        Expression to run at the end of the file, such as ``"train(64, 100, 0.3, X, Y)"``.
    seed : int
        Start of all randomness that the program leaves unseeded.
    time_limit_seconds : float
        Wall time.
    memory_limit_mib : int
        Memory, in MiB.

    Returns
    -------
    Chart
        ``str(chart)`` is what ``backprop-doctor trace`` prints.

    Raises
    ------
    UsageError
        If there is no such file, or it is a folder.
    CannotCheckError
        If the program could not be run, with the reason.
    """
    name = os.fspath(path)
    if os.path.isdir(name):
        raise UsageError(f"{name} is a folder: one program is traced at a time")
    (name,) = programs([name])
    report = check_file(name, Options(call=call, seed=seed, fix=False, time_limit_seconds=time_limit_seconds,
                                      memory_limit_mib=memory_limit_mib))  # fmt: skip
    if not report.ran:
        raise CannotCheckError("; ".join(unchecked.why for unchecked in report.unchecked))
    return Chart(report.path, report.lines, report.network, report)
