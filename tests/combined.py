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
        changes = sorted((change for fault in self.faults for change in changed(self.layout, fault)), reverse=True)
        lines = healthy(self.layout)[:]
        for start, end, new in changes:
            lines[start:end] = new
        return "".join(lines)


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
