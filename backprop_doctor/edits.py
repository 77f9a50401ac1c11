"""The small edits that mend most lines: another axis, a transpose, a sign, a swapped operand, another place.

Where a rule knows what is wrong but not what was meant, these are tried at the blamed line, one after the other,
and only what makes every check pass is kept.  Each replaces the text of one expression or moves one statement;
whatever stands around it, comments and spacing included, stays as it is.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider

from backprop_doctor.rearrangements import rearranged
from backprop_doctor.records import Edit, Position
from backprop_doctor.source import Source
from backprop_doctor.variants import Names, variants

__all__ = ["candidates", "is_only_reading"]

# Lines taken away and put elsewhere read like more than they are.
COST_OF_A_MOVE = 6
# A part too many is a likely slip, however long; one name for another is one of many.
COST_OF_A_REMOVAL = 3
COST_OF_A_NAME = 3
COST_OUTSIDE = 2
WORD = re.compile(r"[^\W\d]\w*")


def candidates(source: Source, blamed: Position) -> Iterator[tuple[Edit, ...]]:
    """Small changes of what stands at a place, those that change least first.

    Parameters
    ----------
    source : Source
        The program.
    blamed : Position
        What is blamed; the whole of its lines is looked at, the blamed part of them first.
    """
    ranked = [(_cost(source, edit, blamed), (edit,)) for edit in _within(source, blamed)]
    moved = enumerate(rearranged(source, blamed.line))
    places = [((COST_OF_A_MOVE, number), edits) for number, edits in moved]
    yield from (edits for _, edits in sorted([*ranked, *places], key=lambda pair: pair[0]))


def _cost(source: Source, edit: Edit, blamed: Position) -> tuple[int, int]:
    """Characters that an edit takes away or adds: the fewer, the likelier it is what was meant."""
    at = edit.position
    before = source.text_at(at)
    blocks = difflib.SequenceMatcher(None, before, edit.replacement, autojunk=False).get_matching_blocks()
    same = sum(block.size for block in blocks)
    outside = (at.line, at.column) < (blamed.line, blamed.column) or (at.end_line, at.end_column) > (
        blamed.end_line,
        blamed.end_column,
    )
    added, removed = len(edit.replacement) - same, len(before) - same
    renamed = before.isidentifier() and edit.replacement.isidentifier()
    cost = added + min(removed, COST_OF_A_REMOVAL) + (COST_OF_A_NAME if renamed else 0)
    return cost + (COST_OUTSIDE if outside else 0), len(edit.replacement)


def _within(source: Source, blamed: Position) -> Iterator[Edit]:
    wrapper = MetadataWrapper(cst.parse_module(source.code), unsafe_skip_copy=True)
    names = Names.of(wrapper.module)
    updated = _updated(source, blamed)
    reader = _Readings.of(source.tree)
    seen = {source.text}
    for node, place in wrapper.resolve(PositionProvider).items():
        if not isinstance(place, CodeRange) or not blamed.line <= place.start.line <= blamed.end_line:
            continue
        own = isinstance(node, cst.BaseExpression) and wrapper.module.code_for_node(node) in updated
        before = wrapper.module.code_for_node(node) if isinstance(node, cst.BaseExpression) else ""
        for text in variants(node, names, wrapper.module):
            if own and not any(name in text for name in updated):
                continue
            if text in before and reader.is_only_reading(before, text):
                continue
            edit = Edit(
                Position(
                    source.path,
                    place.start.line,
                    place.start.column + 1,
                    place.end.line,
                    place.end.column + 1,
                    source.cell,
                ),
                text,
            )
            result = source.apply([edit])
            if result not in seen:
                seen.add(result)
                yield edit


def _updated(source: Source, blamed: Position) -> set[str]:
    """What the blamed lines change step by step: a new value that the old one has no part in is not meant."""
    found = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Assign) and blamed.line <= node.lineno <= blamed.end_line:
            parts = {source.segment(part) for part in ast.walk(node.value) if isinstance(part, ast.expr)}
            found |= {source.segment(target) for target in node.targets} & parts
    return found


def is_only_reading(source: Source, before: str, after: str) -> bool:
    """Whether one text in the place of another leaves no reading of a name: it was there on purpose."""
    return _Readings.of(source.tree).is_only_reading(before, after)


@dataclass(frozen=True)
class _Readings:
    """How often each name is read, of those that a program binds."""

    counts: Counter[str]

    @classmethod
    def of(cls, tree: ast.AST) -> _Readings:
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        bound = {node.id for node in names if isinstance(node.ctx, ast.Store)}
        return cls(Counter(node.id for node in names if isinstance(node.ctx, ast.Load) and node.id in bound))

    def is_only_reading(self, before: str, after: str) -> bool:
        """Whether a text reads a name for which no reading is left in the program with the other text."""
        lost = Counter(WORD.findall(before))
        lost.subtract(WORD.findall(after))
        return any(0 < self.counts[name] <= number for name, number in lost.items())
