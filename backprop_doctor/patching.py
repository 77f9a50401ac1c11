"""Write a fix into the user's file: only where it belongs, all of it or nothing, and with a way back."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from backprop_doctor.errors import UsageError
from backprop_doctor.records import FileReport
from backprop_doctor.source import Project, open_project

__all__ = ["write"]


def write(report: FileReport) -> list[tuple[Path, str]]:
    """Make the edits of a program's fix in its files.

    The new text of each file replaces it in one step, through a symbolic link and with its permissions; all bytes
    outside the edits stay.  The files as they were are kept beside them.

    Returns
    -------
    list of (Path, str)
        Where each file as it was is kept, and the file: what a symbolic link leads to, so that it can be moved back.

    Raises
    ------
    UsageError
        If the report has no fix, a file has changed since it was checked, or cannot be written.
    """
    fix = report.fix
    if fix is None or not fix.edits:
        raise UsageError(f"{report.path}: there is no verified fix to write")
    paths = sorted({edit.position.path for edit in fix.edits})
    parts = [open_project(path) for path in paths]
    source = Project([part for project in parts for part in project.main])
    if source.digest(paths) != fix.digest:
        changed = "the file has" if len(paths) == 1 else "a file has"
        raise UsageError(f"{report.path}: {changed} changed since it was checked; nothing was written")
    mended = source.edited(fix.edits)
    data = {path: _encoded(mended, path) for path in paths}
    done: list[tuple[Path, str]] = []
    try:
        for path in paths:
            real = str(_shown(Path(os.path.realpath(path)))) if Path(path).is_symlink() else path
            done.append((_kept(path, data[path]), real))
    except UsageError:
        # All of it or nothing.
        for kept, path in done:
            os.replace(kept, os.path.realpath(path))
        raise
    return done


def _encoded(mended: Project, path: str) -> bytes:
    encoding = mended.find_file(path).encoding
    try:
        return mended.file_text(path).encode(encoding)
    except UnicodeEncodeError as error:
        raise UsageError(f"{path}: the fix cannot be written in {encoding}; nothing was written") from error


def _kept(path: str, data: bytes) -> Path:
    """Write a file, and say where it is kept as it was."""
    target = Path(os.path.realpath(path))
    if not os.access(target, os.W_OK):
        raise UsageError(f"{path}: is write-protected; nothing was written")
    kept = _unused(target.with_name(f"{target.name}.orig"))
    try:
        shutil.copy2(target, kept)
        _replace(target, data)
    except OSError as error:
        with contextlib.suppress(OSError):
            kept.unlink()
        raise UsageError(f"{path}: cannot be written: {error.strerror}; nothing was written") from error
    return _shown(kept)


def _shown(path: Path) -> Path:
    """A path as the user would write it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


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
        with contextlib.suppress(OSError, AttributeError):  # only the administrator may, and not everywhere
            os.chown(name, target.stat().st_uid, target.stat().st_gid)
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
