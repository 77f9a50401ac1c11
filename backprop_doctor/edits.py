"""The small edits that mend most lines: another axis, a transpose, a sign, a swapped operand, another place.

Where a rule knows what is wrong but not what was meant, these are tried at the blamed line, one after the other,
and only what makes every check pass is kept.  Each replaces the text of one expression or moves one statement;
whatever stands around it, comments and spacing included, stays as it is.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterator

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider

from backprop_doctor.rearrangements import rearranged
from backprop_doctor.records import Edit, Position
from backprop_doctor.source import Source
from backprop_doctor.variants import Names, variants

__all__ = ["candidates"]

# Lines taken away and put elsewhere read like more than they are.
COST_OF_A_MOVE = 6
# A part too many is a likely slip, however long; one name for another is one of many.
COST_OF_A_REMOVAL = 3
COST_OF_A_NAME = 3
COST_OUTSIDE = 2


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
    seen = {source.text}
    for node, place in wrapper.resolve(PositionProvider).items():
        if not isinstance(place, CodeRange) or not blamed.line <= place.start.line <= blamed.end_line:
            continue
        own = isinstance(node, cst.BaseExpression) and wrapper.module.code_for_node(node) in updated
        for text in variants(node, names, wrapper.module):
            if own and not any(name in text for name in updated):
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
