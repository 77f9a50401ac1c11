"""How a report is looked at: the terminal, and what was asked for on the command line."""

from __future__ import annotations

import os
import shlex
import shutil
import unicodedata
from dataclasses import dataclass, field
from typing import IO, Any

import click

from backprop_doctor.records import FileReport, Finding, Position, Unchecked
from backprop_doctor.source import Source, read

__all__ = [
    "View",
    "axes_text",
    "clean",
    "count",
    "crop",
    "display_width",
    "first_line",
    "pad",
    "place",
    "plain",
    "wrap",
]

DEFAULT_WIDTH = 100
ASCII = {"…": "...", "→": "->", "×": "x", "·": "*", "≤": "<=", "≥": ">=", "±": "+-", "−": "-", "–": "-", "∂": "d"}


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
    sources: dict[str, Source | None] = field(default_factory=dict, repr=False)

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
        """A line of the user's file; empty when it cannot be read any more."""
        if cell is not None:
            return ""
        if path not in self.sources:
            try:
                self.sources[path] = read(path)
            except Exception:  # the report stands without its quotations
                self.sources[path] = None
        source = self.sources[path]
        return clean(source.line(line).expandtabs(4)) if source else ""

    def again(self, path: str, finding: Finding) -> str:
        """The command that shows a finding once more."""
        words = ["backprop-doctor", "check", path, "--select", finding.code]
        if self.call is not None:
            words += ["--call", self.call]
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


def plain(text: str, encoding: str) -> str:
    """The text as that encoding can show it.

    Parameters
    ----------
    text : str
    encoding : str
        Name of a codec.

    Returns
    -------
    str
        The same, or with likenesses in ASCII, or with question marks.
    """
    try:
        text.encode(encoding)
        return text
    except UnicodeEncodeError:
        for glyph, likeness in ASCII.items():
            text = text.replace(glyph, likeness)
        return text.encode(encoding, "replace").decode(encoding)


def clean(text: str) -> str:
    """The text without control characters, which would steer the terminal.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
    """
    if text.isprintable():
        return text
    return "".join(ch if ch.isprintable() or ch == "\n" else "?" for ch in text)


def display_width(text: str) -> int:
    """Columns that a text takes in a terminal.

    Parameters
    ----------
    text : str

    Returns
    -------
    int
    """
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(ch) else 2 if unicodedata.east_asian_width(ch) in "WF" else 1 for ch in text
    )


def pad(text: str, width: int) -> str:
    """The text with spaces up to a display width.

    Parameters
    ----------
    text : str
    width : int
        In columns.

    Returns
    -------
    str
    """
    return text + " " * (width - display_width(text))


def crop(text: str, width: int, ellipsis: str = "…") -> str:
    """The text, cut to a display width.

    Parameters
    ----------
    text : str
    width : int
        In columns.
    ellipsis : str
        Stands for what was cut.

    Returns
    -------
    str
    """
    if display_width(text) <= width:
        return text
    while text and display_width(text) + len(ellipsis) > width:
        text = text[:-1]
    return text.rstrip() + ellipsis


def wrap(text: str, width: int) -> list[str]:
    """Lines of a text; line ends in it are kept, words are not broken.

    Parameters
    ----------
    text : str
    width : int
        In columns.

    Returns
    -------
    list of str
        At least one line.
    """
    lines: list[str] = []
    for paragraph in clean(text).splitlines() or [""]:
        line = ""
        for word in paragraph.split():
            if line and display_width(line) + 1 + display_width(word) > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
    return lines


def first_line(text: str) -> str:
    """The first line of a message, for forms that have one line.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
    """
    return clean(text.strip().partition("\n")[0])


def place(position: Position) -> str:
    """Path, cell, line and column, as editors and terminals make them clickable.

    Parameters
    ----------
    position : Position

    Returns
    -------
    str
    """
    cell = "" if position.cell is None else f":cell {position.cell}"
    return clean(f"{position.path}{cell}:{position.line}:{position.column}")


def axes_text(shape: tuple[int, ...], axes: tuple[str, ...]) -> str:
    """A shape with the names of its axes: ``(samples 97, hidden 60)``.

    Parameters
    ----------
    shape : tuple of int
    axes : tuple of str
        One name an axis; ``1`` and ``?`` are no names.

    Returns
    -------
    str
        ``number`` for a shape without axes.
    """
    if not shape:
        return "number"
    names = axes if len(axes) == len(shape) else ("?",) * len(shape)
    parts = [str(size) if name in ("", "1", "?") else f"{name} {size}" for size, name in zip(shape, names, strict=True)]
    return f"({parts[0]},)" if len(parts) == 1 and parts[0].isdigit() else f"({', '.join(parts)})"


def count(number: int, noun: str) -> str:
    """A number with its noun in the right form.

    Parameters
    ----------
    number : int
    noun : str
        In the singular.

    Returns
    -------
    str
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def unchecked_sentence(file: FileReport, unchecked: Unchecked) -> str:
    """Why something could not be checked, with the file in front.

    Parameters
    ----------
    file : FileReport
    unchecked : Unchecked

    Returns
    -------
    str
    """
    return unchecked.why if unchecked.why.startswith(file.path) else f"{file.path}: {unchecked.why}"
