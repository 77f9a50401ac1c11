"""Small phrases that several forms of a report share."""

from __future__ import annotations

from backprop_doctor.records import FileReport, Position, Unchecked
from backprop_doctor.reports.layout import clean

__all__ = ["axes_text", "count", "first_line", "percent", "place", "scientific", "unchecked_sentence"]


def first_line(text: str) -> str:
    """The first line of a message, for forms that have one line."""
    return clean(text.strip().partition("\n")[0])


def place(position: Position) -> str:
    """Path, cell, line and column, as editors and terminals make them clickable."""
    cell = "" if position.cell is None else f":cell {position.cell}"
    return clean(f"{position.path}{cell}:{position.line}:{position.column}")


def axes_text(shape: tuple[int, ...], axes: tuple[str, ...]) -> str:
    """A shape with the names of its axes: ``(samples 97, hidden 60)``."""
    if not shape:
        return "number"
    names = axes if len(axes) == len(shape) else ("?",) * len(shape)
    parts = [str(size) if name in ("", "1", "?") else f"{name} {size}" for size, name in zip(shape, names, strict=True)]
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def count(number: int, noun: str) -> str:
    """A number with its noun in the right form."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def unchecked_sentence(file: FileReport, unchecked: Unchecked) -> str:
    """Why something could not be checked, with the file in front."""
    return unchecked.why if unchecked.why.startswith(f"{file.path}:") else f"{file.path}: {unchecked.why}"


def percent(fraction: float) -> str:
    """A fraction in per cent with three significant digits."""
    digits = 1 if fraction >= 0.1 else 2
    return f"{100 * fraction:.{digits}f} %"


def scientific(number: float | None) -> str:
    """A relative error: one digit and its power of ten."""
    if number is None:
        return "-"
    mantissa, exponent = f"{number:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}" if number else "0"
