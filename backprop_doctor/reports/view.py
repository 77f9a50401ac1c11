"""How a report is looked at: the terminal, and what was asked for on the command line."""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass, field
from typing import IO, Any

import click

from backprop_doctor.records import Finding
from backprop_doctor.source import Project, open_project

__all__ = ["View"]

DEFAULT_WIDTH = 100


@dataclass(frozen=True)
class View:
    """Width in columns, colour, glyphs beyond ASCII; the chart; what ``again`` has to repeat."""

    width: int = DEFAULT_WIDTH
    colour: bool = False
    ascii: bool = False
    chart: bool = False
    findings: bool = True
    seed: int = 0
    call: str | None = None
    arguments: str | None = None
    config: str | None = None
    sources: dict[str, Project | None] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, stream: IO[Any], **wishes: Any) -> View:
        """The view of a stream: its width, whether it shows colour, what it can encode."""
        return cls(
            width=max(40, shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns),
            colour=_shows_colour(stream),
            ascii=not _encodes(stream, "…"),
            **wishes,
        )

    @property
    def ellipsis(self) -> str:
        """What stands for text that was cut."""
        return "..." if self.ascii else "…"

    def style(self, text: str, **style: Any) -> str:
        """The text in a style, when there is colour."""
        return click.style(text, **style) if self.colour and text else text

    def source_line(self, path: str, line: int, cell: int | None = None) -> str:
        """A line of the user's file as it stands there; empty when it cannot be read any more."""
        if path not in self.sources:
            try:
                self.sources[path] = open_project(path)
            except Exception:  # the report stands without its quotations
                self.sources[path] = None
        project = self.sources[path]
        source = next((part for part in project.main if part.cell == cell), None) if project else None
        return source.line(line) if source else ""

    def again(self, path: str, finding: Finding) -> str:
        """The command that shows a finding once more."""
        named = ["--static", "-"] if path == "<stdin>" else [path]
        words = ["backprop-doctor", "check", *named, "--select", finding.code]
        if self.call is not None:
            words += ["--call", self.call]
        if self.arguments:
            words += ["--args", self.arguments]
        if self.config is not None:
            words += ["--config", self.config]
        if self.seed:
            words += ["--seed", str(self.seed)]
        return shlex.join(words)


def _shows_colour(stream: IO[Any]) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _encodes(stream: IO[Any], text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
