"""Write a fix into the user's file: only where it belongs, all of it or nothing, and with a way back."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from backprop_doctor.errors import UsageError
from backprop_doctor.records import FileReport
from backprop_doctor.source import read

__all__ = ["write"]


def write(report: FileReport) -> Path:
    """Make the edits of a program's fix in its file.

    The new text replaces the file in one step, through a symbolic link and with its permissions; all
    bytes outside the edits stay.  The file as it was is kept beside it.

    Returns
    -------
    Path
        Where the file as it was is kept.

    Raises
    ------
    UsageError
        If the report has no fix, the file has changed since it was checked, or it cannot be written.
    """
    fix = report.fix
    if fix is None or not fix.edits:
        raise UsageError(f"{report.path}: there is no verified fix to write")
    target = Path(os.path.realpath(report.path))
    source = read(report.path)
    data = target.read_bytes()
    if hashlib.sha256(data).hexdigest() != fix.digest:
        raise UsageError(f"{report.path}: the file has changed since it was checked; nothing was written")
    kept = _unused(target.with_name(f"{target.name}.orig"))
    try:
        shutil.copy2(target, kept)
        _replace(target, source.apply(fix.edits).encode(source.encoding))
    except OSError as error:
        raise UsageError(f"{report.path}: cannot be written: {error.strerror}") from error
    return kept.relative_to(Path.cwd()) if kept.is_relative_to(Path.cwd()) else kept


def _unused(path: Path) -> Path:
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}{number}")
    return candidate


def _replace(target: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        shutil.copymode(target, name)
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
