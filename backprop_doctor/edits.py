"""The table of small edits that mend most lines: another axis, a transpose, a sign, a swapped operand.

Where a rule knows what is wrong but not what was meant, the edits of this table are tried at the blamed
line, one after the other, and only what makes every check pass is kept.  Each edit replaces the text of one
expression; whatever stands around it, comments and spacing included, stays as it is.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider

from backprop_doctor.records import Edit, Position
from backprop_doctor.source import Source

__all__ = ["candidates"]

PRODUCTS = {"dot", "matmul", "outer"}
BINDING = re.compile(r"^[ \t]*([A-Za-z_][\w ,]*)[-+*/@]?=(?!=)", re.MULTILINE)
REDUCTIONS = {"sum", "mean", "max", "argmax"}


def candidates(source: Source, line: int) -> Iterator[Edit]:
    """Small changes of the expressions on one line, those that change least first.

    Parameters
    ----------
    source : Source
        The program.
    line : int
        The 1-based line that is blamed.
    """
    yield from sorted(_candidates(source, line), key=lambda edit: _changed(source, edit))


def _changed(source: Source, edit: Edit) -> int:
    """Characters that an edit takes away or adds: the fewer, the likelier it is what was meant."""
    at = edit.position
    before = source.text[source.offset(at.line, at.column) : source.offset(at.end_line, at.end_column)]
    blocks = difflib.SequenceMatcher(None, before, edit.replacement, autojunk=False).get_matching_blocks()
    same = sum(block.size for block in blocks)
    return len(before) + len(edit.replacement) - 2 * same


def _candidates(source: Source, line: int) -> Iterator[Edit]:
    wrapper = MetadataWrapper(cst.parse_module(source.code), unsafe_skip_copy=True)
    positions = wrapper.resolve(PositionProvider)
    seen = set()
    for node, place in positions.items():
        if not isinstance(place, CodeRange) or not place.start.line <= line <= place.end.line:
            continue
        if isinstance(node, (cst.BaseExpression, cst.AugAssign)):
            for new in [*_variants(node), *_neighbours(node, source, place)]:
                position = Position(
                    source.path,
                    place.start.line,
                    place.start.column + 1,
                    place.end.line,
                    place.end.column + 1,
                    source.cell,
                )
                edit = Edit(position, wrapper.module.code_for_node(new))
                if edit not in seen and place.start.line == line:
                    seen.add(edit)
                    yield edit


def _variants(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    if isinstance(node, cst.Call):
        yield from _calls(node)
    elif isinstance(node, cst.BinaryOperation):
        yield from _operations(node)
    elif isinstance(node, cst.Attribute) and node.attr.value == "T":
        yield node.value
    elif isinstance(node, cst.Subscript) and _is_shape(node.value):
        yield from _other_index(node)
    elif isinstance(node, cst.Comparison):
        yield from _strict(node)
    elif isinstance(node, cst.AugAssign):
        flipped = {cst.AddAssign: cst.SubtractAssign, cst.SubtractAssign: cst.AddAssign}.get(type(node.operator))
        if flipped:
            yield node.with_changes(operator=flipped())


def _neighbours(node: cst.CSTNode, source: Source, place: CodeRange) -> Iterator[cst.Name]:
    """For a variable that is read, others of the program with a name much like it: A1 for Z1, W2 for W1."""
    if not isinstance(node, cst.Name):
        return
    bound = {name for line in BINDING.findall(source.text) for name in re.findall(r"\w+", line)}
    is_target = (
        BINDING.match(source.line(place.start.line)) and not source.line(place.start.line)[: place.start.column].strip()
    )
    if node.value in bound and not is_target:
        for name in difflib.get_close_matches(node.value, sorted(bound - {node.value}), n=8, cutoff=0.5):
            yield cst.Name(name)


def _calls(node: cst.Call) -> Iterator[cst.Call]:
    name = node.func.attr.value if isinstance(node.func, cst.Attribute) else getattr(node.func, "value", "")
    for i, argument in enumerate(node.args):
        is_axis = argument.keyword is not None and argument.keyword.value == "axis"
        if isinstance(argument.value, cst.Integer) and (is_axis or (name in REDUCTIONS and i > 0)):
            other = cst.Integer("1" if argument.value.value == "0" else "0")
            yield node.with_changes(args=[*node.args[:i], argument.with_changes(value=other), *node.args[i + 1 :]])
    if name in PRODUCTS and len(node.args) == 2:
        first, second = node.args
        for one, two in _arranged(first.value, second.value):
            yield node.with_changes(args=[first.with_changes(value=one), second.with_changes(value=two)])


def _operations(node: cst.BinaryOperation) -> Iterator[cst.BaseExpression]:
    other = {cst.Add: cst.Subtract, cst.Subtract: cst.Add}.get(type(node.operator))
    if isinstance(node.operator, cst.MatrixMultiply):
        for one, two in _arranged(node.left, node.right):
            yield node.with_changes(left=one, right=two)
    elif isinstance(node.operator, cst.Subtract):
        yield node.with_changes(left=node.right, right=node.left)
    if other is not None and isinstance(node.operator, (cst.Add, cst.Subtract)):
        yield node.with_changes(operator=other(node.operator.whitespace_before, node.operator.whitespace_after))
    sides = {cst.Multiply: (node.left, node.right), cst.Divide: (node.left,)}.get(type(node.operator), ())
    yield from (side for side in sides if not isinstance(side, (cst.Integer, cst.Float)))


def _arranged(
    one: cst.BaseExpression, two: cst.BaseExpression
) -> Iterator[tuple[cst.BaseExpression, cst.BaseExpression]]:
    """The operands of a product, transposed and swapped in every way but the one that stands there."""
    for first, second in ((one, two), (two, one)):
        for left in (first, _turned(first)):
            for right in (second, _turned(second)):
                if (left, right) != (one, two):
                    yield left, right


def _turned(node: cst.BaseExpression) -> cst.BaseExpression:
    if isinstance(node, cst.Attribute) and node.attr.value == "T":
        return node.value
    simple = isinstance(node, (cst.Name, cst.Attribute, cst.Call, cst.Subscript)) or node.lpar
    inner = node if simple else node.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    return cst.Attribute(inner, cst.Name("T"))


def _is_shape(node: cst.BaseExpression) -> bool:
    if isinstance(node, cst.Call):
        node = node.func
    return isinstance(node, cst.Attribute) and node.attr.value == "shape"


def _other_index(node: cst.Subscript) -> Iterator[cst.Subscript]:
    index = node.slice[0].slice if len(node.slice) == 1 else None
    if isinstance(index, cst.Index) and isinstance(index.value, cst.Integer):
        other = cst.Integer("1" if index.value.value == "0" else "0")
        yield node.with_changes(slice=[node.slice[0].with_changes(slice=index.with_changes(value=other))])


def _strict(node: cst.Comparison) -> Iterator[cst.Comparison]:
    stricter = {cst.GreaterThanEqual: cst.GreaterThan, cst.LessThanEqual: cst.LessThan}
    target = node.comparisons[0]
    kind = stricter.get(type(target.operator))
    if kind is not None and len(node.comparisons) == 1:
        yield node.with_changes(comparisons=[target.with_changes(operator=kind())])
