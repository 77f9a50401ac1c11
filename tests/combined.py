"""Programs with several faults at once: the faults of single fixtures made together in their healthy twin."""

from __future__ import annotations

import difflib
import itertools
import random
from dataclasses import dataclass
from functools import cache

import networks

FOLDER = networks.FOLDER / "single"
LAYOUTS = ("samples_first", "features_first")
EACH = 6
# Together they make a program that does not run: there is nothing to be checked.
CRASHING = {"batch_size_from_feature_axis", "parameter_shape_drift"}


# The fault that wrote a line, or "" for the healthy twin; and where: in the twin, at which line.
Place = tuple[str, int]


@dataclass(frozen=True)
class Several:
    """Faults to be made together, by the names of their fixtures without the layout."""

    layout: str
    faults: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.layout}:{'+'.join(self.faults)}"

    @property
    def text(self) -> str:
        """The program."""
        return "".join(line for line, _ in self._lines)

    @property
    def expected(self) -> dict[tuple[int, str], str]:
        """Line and code of the errors that the faults are, with their names."""
        places = {place: number for number, (_, place) in enumerate(self._lines, 1)}
        return {
            (places[place], code): fault
            for fault in self.faults
            for place, code in errors(self.layout, fault)
            if place in places
        }

    @property
    def _lines(self) -> list[tuple[str, Place]]:
        lines: list[tuple[str, Place]] = [(line, ("", number)) for number, line in enumerate(healthy(self.layout))]
        changes = [(*change, fault) for fault in self.faults for change in changed(self.layout, fault)]
        for start, end, new, fault in sorted(changes, reverse=True):
            lines[start:end] = [(line, (fault, start + number)) for number, line in enumerate(new)]
        return lines


def recipes() -> list[Several]:
    """Pairs, triples and fours of faults at different lines, of both layouts, the same ones each time."""
    found = []
    for layout, number in itertools.product(LAYOUTS, (2, 3, 4)):
        names = list(faults(layout))
        drawn = random.Random(f"{layout}{number}")
        chosen: set[tuple[str, ...]] = set()
        while len(chosen) < EACH:
            some = tuple(sorted(drawn.sample(names, number)))
            runs = not set(some) >= CRASHING
            if runs and _are_apart([change for fault in some for change in changed(layout, fault)]):
                chosen.add(some)
        found += [Several(layout, some) for some in sorted(chosen)]
    return found


@cache
def faults(layout: str) -> tuple[str, ...]:
    """Names of the fixtures with an error."""
    paths = sorted(FOLDER.glob(f"{layout}_*.py"))
    return tuple(p.stem.removeprefix(f"{layout}_") for p in paths if "error" in networks.expected(p).values())


@cache
def healthy(layout: str) -> list[str]:
    """Lines of the healthy twin."""
    return (FOLDER / f"{layout}_healthy.py").read_text(encoding="utf-8").splitlines(keepends=True)


@cache
def errors(layout: str, fault: str) -> tuple[tuple[Place, str], ...]:
    """Where the errors of a fixture stand, in the terms of its healthy twin, and their codes."""
    path = FOLDER / f"{layout}_{fault}.py"
    codes = [(line - 1, code) for (line, code), kind in networks.expected(path).items() if kind == "error"]
    found = []
    blocks = [(a + s, a + s + len(new), a) for (a, b, new), s in zip(changed(layout, fault), _shifts(layout, fault))]
    for line, code in codes:
        inside = next(((start, twin) for start, end, twin in blocks if start <= line < end), None)
        before = [(end, b) for (start, end, _), (_, b, _) in zip(blocks, changed(layout, fault)) if end <= line]
        shift = before[-1][1] - before[-1][0] if before else 0
        found.append(((fault, inside[1] + line - inside[0]) if inside else ("", line + shift), code))
    return tuple(found)


def _shifts(layout: str, fault: str) -> list[int]:
    """By how many lines a fixture is ahead of its healthy twin at each change."""
    ahead, found = 0, []
    for start, end, new in changed(layout, fault):
        found.append(ahead)
        ahead += len(new) - (end - start)
    return found


@cache
def changed(layout: str, fault: str) -> tuple[tuple[int, int, list[str]], ...]:
    """Where a fixture differs from its healthy twin: from which line to which, and what stands there."""
    lines = healthy(layout)
    text = (FOLDER / f"{layout}_{fault}.py").read_text(encoding="utf-8")
    faulty = [line.split("  # expect")[0].rstrip() + "\n" for line in text.splitlines()]
    codes = difflib.SequenceMatcher(None, lines, faulty, autojunk=False).get_opcodes()
    return tuple((a, b, faulty[c:d]) for kind, a, b, c, d in codes if kind != "equal")


def _are_apart(changes: list[tuple[int, int, list[str]]]) -> bool:
    ordered = sorted((start, end) for start, end, _ in changes)
    return all(one[1] < other[0] or one[1] == other[0] > one[0] for one, other in itertools.pairwise(ordered))
