"""Check files: each in a child process, each with a report whatever happens."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from backprop_doctor import serialise, worker
from backprop_doctor.errors import CannotCheckError
from backprop_doctor.records import FileReport, Report, Unchecked

__all__ = ["Options", "check", "check_file"]


@dataclass(frozen=True)
class Options:
    """How to check; times in seconds, memory in MiB."""

    seed: int = 0
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    time_limit: float = 60.0
    memory_limit: int = 4096


def check_file(path: str, options: Options) -> FileReport:
    """Check one program; what prevents that becomes a report with the verdict *unknown*."""
    started = time.perf_counter()
    request = {"path": path, "seed": options.seed, "select": options.select, "ignore": options.ignore}
    try:
        answer = worker.run(
            "check", request, time_limit=options.time_limit, memory_limit_mib=options.memory_limit
        )
    except CannotCheckError as error:
        seconds = time.perf_counter() - started
        return FileReport(path, "unknown", False, seconds, unchecked=(Unchecked("the program", str(error)),))
    return serialise.file_from_json(answer["report"])


def check(path: str | Path, options: Options | None = None) -> Report:
    """Check one program from Python.

    Parameters
    ----------
    path : str or Path
        A Python file that trains a network.
    options : Options, optional

    Returns
    -------
    Report
        With one entry in ``files``.
    """
    return Report((check_file(str(path), options or Options()),))
