"""Edits of an edited text, as edits of the text before both: what is found step by step is written in one."""

from __future__ import annotations

from collections.abc import Iterable

from backprop_doctor.records import Edit, Position
from backprop_doctor.source import Project, Source

__all__ = ["compose", "is_second_thought", "line_after"]

# A character, and its offset in the text before all edits; None for one that an edit wrote.
Character = tuple[str, int | None]


def compose(source: Project, before: Iterable[Edit], then: Iterable[Edit]) -> tuple[Edit, ...]:
    """The edits of a program that do what ``before`` and, on the program so edited, ``then`` do.

    Edits that touch each other become one.

    Raises
    ------
    ValueError
        If edits of one round overlap.
    """
    first, second = _by_place(before), _by_place(then)
    edits: list[Edit] = []
    for place in dict.fromkeys([*first, *second]):
        edits += _composed(source.find(*place), first.get(place, []), second.get(place, []))
    return tuple(edits)


def is_second_thought(source: Project, before: Iterable[Edit], then: Iterable[Edit]) -> bool:
    """Whether one of the later edits changes nothing but what the earlier ones have just written."""
    first, second = _by_place(before), _by_place(then)
    for place in first.keys() & second.keys():
        home = source.find(*place)
        once = Source(home.path, home.apply(first[place]), cell=home.cell)
        characters: list[Character] = [(character, offset) for offset, character in enumerate(home.text)]
        characters = _applied(home, characters, first[place])
        for edit in second[place]:
            at = edit.position
            changed = characters[once.offset(at.line, at.column) : once.offset(at.end_line, at.end_column)]
            if changed and all(offset is None for _, offset in changed):
                return True
    return False


def line_after(edits: Iterable[Edit], at: Position) -> int:
    """The line in the edited text of what stands at a position that no edit takes away."""
    line = at.line
    for edit in set(edits):
        place = edit.position
        if (place.path, place.cell) == (at.path, at.cell) and place.line < at.line:
            line += edit.replacement.count("\n") - (place.end_line - place.line)
    return line


def _by_place(edits: Iterable[Edit]) -> dict[tuple[str, int | None], list[Edit]]:
    found: dict[tuple[str, int | None], list[Edit]] = {}
    for edit in dict.fromkeys(edits):
        found.setdefault((edit.position.path, edit.position.cell), []).append(edit)
    return found


def _composed(home: Source, before: list[Edit], then: list[Edit]) -> list[Edit]:
    if not before or not then:
        return before or then
    once = Source(home.path, home.apply(before), cell=home.cell)
    characters: list[Character] = [(character, offset) for offset, character in enumerate(home.text)]
    characters = _applied(once, _applied(home, characters, before), then)
    edits, written, last = [], "", 0
    for character, offset in [*characters, ("", len(home.text))]:
        if offset is None:
            written += character
            continue
        if written or offset != last:
            edits.append(Edit(_position(home, last, offset), written))
        written, last = "", offset + 1
    return edits


def _applied(source: Source, characters: list[Character], edits: list[Edit]) -> list[Character]:
    result, last = [], 0
    for edit in sorted(edits, key=lambda edit: (edit.position.line, edit.position.column)):
        at = edit.position
        start, end = source.offset(at.line, at.column), source.offset(at.end_line, at.end_column)
        if start < last:
            raise ValueError("edits overlap")
        result += characters[last:start]
        result += [(character, None) for character in edit.replacement]
        last = end
    return result + characters[last:]


def _position(home: Source, start: int, end: int) -> Position:
    return Position(home.path, *home.place(start), *home.place(end), home.cell)
