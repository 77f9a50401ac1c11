"""Exceptions, each knowing its exit code.

::

    DoctorError            2
    ├── UsageError         2   wrong use: what was given, what is accepted
    └── CannotCheckError   3   the program could not be checked, and why
        ├── SourceError    3   the file cannot be read or parsed
        └── ProgramError   3   the program ended, hung or trained nothing
            ├── IdleError  3   it ran to its end and trained nothing
            └── CrashError 3   it stopped with an exception of its own
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backprop_doctor.crashes import Crash


class DoctorError(Exception):
    """Base of all errors this package raises on purpose; ``exit_code`` is for the command line."""

    exit_code = 2


class UsageError(DoctorError):
    """The tool was used wrongly."""


class CannotCheckError(DoctorError):
    """A program could not be checked."""

    exit_code = 3


class SourceError(CannotCheckError):
    """The file cannot be read or parsed."""


class ProgramError(CannotCheckError):
    """The program ended, hung, or trained nothing."""


class IdleError(ProgramError):
    """The program ran to its end and trained nothing: it may only define things."""


class CrashError(ProgramError):
    """The program stopped with an exception of its own; ``crash`` is the run up to it."""

    def __init__(self, sentence: str, crash: Crash) -> None:
        super().__init__(sentence)
        self.crash = crash
