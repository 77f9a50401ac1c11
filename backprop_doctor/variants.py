"""What may have been meant by an expression: the table of small changes, one function a kind of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

import libcst as cst

__all__ = ["Names", "variants"]

PRODUCTS = {"dot", "matmul", "outer"}
REDUCTIONS = {"sum", "mean", "max", "min", "amax", "argmax", "prod", "average"}
SUMS = {"sum": "mean", "mean": "sum"}
EMPTY = {"zeros", "ones"}
SPACE = cst.SimpleWhitespace(" ")
LIKENESS = 0.5
NEIGHBOURS = 5


@dataclass(frozen=True)
class Names:
    """The variables of a program: all that it binds, and those that hold a number of something.

    ``whole`` are the expressions that are all that is assigned, returned or handed over, ``fixed`` those in whose
    place nothing else makes sense: targets, functions, modules; ``multiplied`` are the operands of matrix products.
    """

    bound: frozenset[str]
    counts: tuple[str, ...]
    numpy: str
    whole: frozenset[cst.CSTNode]
    fixed: frozenset[cst.CSTNode]
    multiplied: frozenset[cst.CSTNode]

    @classmethod
    def of(cls, module: cst.Module) -> Names:
        """Read them from the assignments."""
        reader = _Reader()
        module.visit(reader)
        counts = tuple(dict.fromkeys(reader.counts))
        sets = (frozenset(found) for found in (reader.whole, reader.fixed, reader.multiplied))
        return cls(frozenset(reader.bound), counts, reader.numpy, *sets)

    def like(self, name: str) -> list[str]:
        """Other variables with a name much like it: A1 for Z1, W2 for W1."""
        return difflib.get_close_matches(name, sorted(self.bound - {name}), n=NEIGHBOURS, cutoff=LIKENESS)


class _Reader(cst.CSTVisitor):
    def __init__(self) -> None:
        self.bound: list[str] = []
        self.counts: list[str] = []
        self.numpy = "np"

        self.whole: list[cst.CSTNode] = []
        self.fixed: list[cst.CSTNode] = []
        self.multiplied: list[cst.CSTNode] = []

    def visit_AssignTarget(self, node: cst.AssignTarget) -> None:
        self._bind(node.target)

    def visit_Assign(self, node: cst.Assign) -> None:
        self.whole.append(node.value)
        if len(node.targets) == 1 and isinstance(node.targets[0].target, cst.Name) and _is_count(node.value):
            self.counts.append(node.targets[0].target.value)

    def visit_Return(self, node: cst.Return) -> None:
        self.whole += [node.value] if node.value is not None else []

    def visit_Arg(self, node: cst.Arg) -> None:
        if node.keyword is None:
            self.whole.append(node.value)
        else:
            self.fixed.append(node.keyword)

    def visit_Call(self, node: cst.Call) -> None:
        self.fixed.append(node.func)
        if _called(node) in PRODUCTS:
            self._multiply(*(argument.value for argument in node.args))

    def visit_BinaryOperation(self, node: cst.BinaryOperation) -> None:
        if isinstance(node.operator, cst.MatrixMultiply):
            self._multiply(node.left, node.right)

    def _multiply(self, *operands: cst.BaseExpression) -> None:
        for operand in operands:
            turned = isinstance(operand, cst.Attribute) and operand.attr.value == "T"
            self.multiplied += [operand, operand.value] if turned else [operand]  # type: ignore[attr-defined]

    def visit_Attribute(self, node: cst.Attribute) -> None:
        self.fixed.append(node.attr)

    def visit_Param(self, node: cst.Param) -> None:
        self.bound.append(node.name.value)

    def visit_AugAssign(self, node: cst.AugAssign) -> None:
        self._bind(node.target)
        self.whole.append(node.value)

    def visit_For(self, node: cst.For) -> None:
        self._bind(node.target)

    def visit_ImportAlias(self, node: cst.ImportAlias) -> None:
        if node.evaluated_name == "numpy":
            self.numpy = node.evaluated_alias or "numpy"

    def _bind(self, target: cst.BaseExpression) -> None:
        self.fixed.append(target)
        if isinstance(target, cst.Name):
            self.bound.append(target.value)
        elif isinstance(target, (cst.Tuple, cst.List)):
            for element in target.elements:
                self._bind(element.value)


def variants(node: cst.CSTNode, names: Names, module: cst.Module) -> Iterator[str]:
    """Texts that may stand in the place of a node; what they leave of it keeps its spacing."""
    if node in names.fixed or (isinstance(node, cst.Name) and node.value == names.numpy):
        return
    in_parentheses = isinstance(node, cst.BaseExpression) and bool(node.lpar)
    for new in _nodes(node, names):
        bare = _bare(new) if in_parentheses and isinstance(new, cst.BaseExpression) else new
        yield bare if isinstance(bare, str) else module.code_for_node(bare)
    if isinstance(node, cst.BaseExpression):
        yield from _texts(node, names, module.code_for_node(_bare(node)))


def _nodes(node: cst.CSTNode, names: Names) -> Iterator[cst.CSTNode | str]:
    if isinstance(node, cst.Call):
        yield from _other_axis(node)
        yield from _other_product(node)
        yield from _other_bounds(node)
        yield from _keepdims(node)
    elif isinstance(node, cst.BinaryOperation):
        yield from _other_operation(node)
    elif isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Minus):
        yield node.expression
    elif isinstance(node, cst.Attribute):
        yield from _other_attribute(node)
    elif isinstance(node, cst.Subscript):
        yield from _other_index(node)
    elif isinstance(node, cst.Comparison):
        yield from _other_comparison(node)
    elif isinstance(node, cst.Assign):
        yield from _other_assignment(node, names)
    elif isinstance(node, cst.AugAssign):
        flipped = {cst.AddAssign: cst.SubtractAssign, cst.SubtractAssign: cst.AddAssign}.get(type(node.operator))
        if flipped:
            yield node.with_changes(operator=flipped())


def _other_axis(node: cst.Call) -> Iterator[cst.CSTNode]:
    name = _called(node)
    axes = [i for i, argument in enumerate(node.args) if _is_axis(argument, name, i)]
    for i in axes:
        argument = node.args[i]
        text = argument.value.value if isinstance(argument.value, cst.Integer) else "1"
        yield _with_argument(node, i, argument.with_changes(value=cst.Integer("1" if text == "0" else "0")))


def _keepdims(node: cst.Call) -> Iterator[cst.CSTNode | str]:
    name = _called(node)
    if name not in REDUCTIONS:
        return
    keywords = {a.keyword.value: i for i, a in enumerate(node.args) if a.keyword is not None}
    has_axis = any(_is_axis(argument, name, i) for i, argument in enumerate(node.args))
    if "keepdims" in keywords:
        i = keywords["keepdims"]
        other = "False" if getattr(node.args[i].value, "value", "") == "True" else "True"
        yield _with_argument(node, i, node.args[i].with_changes(value=cst.Name(other)))
    elif has_axis:
        yield _appended(node, "keepdims=True")
    else:
        if len(node.args) == 1 and isinstance(node.func, cst.Attribute):
            yield node.args[0].value
        for axis in "01":
            yield _appended(node, f"axis={axis}")
            yield _appended(node, f"axis={axis}", "keepdims=True")
    if name in SUMS:
        function = node.func
        if isinstance(function, cst.Attribute):
            yield node.with_changes(func=function.with_changes(attr=cst.Name(SUMS[name])))


def _appended(node: cst.Call, *keywords: str) -> cst.Call:
    arguments = [a.with_changes(comma=cst.Comma(whitespace_after=SPACE)) for a in node.args]
    for text in keywords:
        name, value = text.split("=")
        tight = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
        arguments.append(
            cst.Arg(
                cst.parse_expression(value),
                keyword=cst.Name(name),
                equal=tight,
                comma=cst.Comma(whitespace_after=SPACE),
            )
        )
    arguments[-1] = arguments[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
    return node.with_changes(args=arguments)


def _other_product(node: cst.Call) -> Iterator[cst.CSTNode]:
    if _called(node) in PRODUCTS and len(node.args) == 2:
        first, second = node.args
        for one, two in _arranged(first.value, second.value):
            yield node.with_changes(args=[first.with_changes(value=one), second.with_changes(value=two)])


def _other_bounds(node: cst.Call) -> Iterator[cst.CSTNode]:
    """Loops that start one too late, arrays that are shaped the other way round, arguments in another order."""
    name = _called(node)
    if name == "range" and len(node.args) == 2:
        yield node.with_changes(args=[node.args[1]])
    if name == "reshape" and len(node.args) == 2:
        first, second = node.args
        turned = node.with_changes(
            args=[first.with_changes(value=second.value), second.with_changes(value=first.value)]
        )
        yield turned
        yield cst.Attribute(turned, cst.Name("T"))


def _other_operation(node: cst.BinaryOperation) -> Iterator[cst.CSTNode]:
    operator = node.operator
    spaces = {
        key: getattr(operator, key) for key in ("whitespace_before", "whitespace_after") if hasattr(operator, key)
    }
    others: dict[type, tuple[type, ...]] = {
        cst.Add: (cst.Subtract,),
        cst.Subtract: (cst.Add,),
        cst.Multiply: (cst.MatrixMultiply,),
        cst.MatrixMultiply: (cst.Multiply,),
        cst.FloorDivide: (cst.Divide,),
    }
    for other in others.get(type(operator), ()):
        yield node.with_changes(operator=other(**spaces))
    if isinstance(operator, cst.MatrixMultiply):
        for one, two in _arranged(node.left, node.right):
            yield node.with_changes(left=one, right=two)
    elif isinstance(operator, cst.Subtract):
        yield node.with_changes(left=node.right, right=node.left)
    # Without one of its sides: a factor, a divisor, an exponent or a summand too many.
    sides = {
        cst.Multiply: (node.left, node.right),
        cst.Divide: (node.left,),
        cst.FloorDivide: (node.left,),
        cst.Power: (node.left,),
        cst.Add: (node.left, node.right),
        cst.Subtract: (node.left,),
    }.get(type(operator), ())
    yield from (side for side in sides if not isinstance(side, (cst.Integer, cst.Float)))


def _other_attribute(node: cst.Attribute) -> Iterator[cst.CSTNode]:
    if node.attr.value == "T":
        yield node.value


def _other_index(node: cst.Subscript) -> Iterator[cst.CSTNode]:
    """``shape[1]`` for ``shape[0]``; ``[:, 1:]`` and ``[:, :-1]`` for each other."""
    for i, element in enumerate(node.slice):
        index = element.slice
        if isinstance(index, cst.Index) and isinstance(index.value, cst.Integer) and _is_shape(node.value):
            other: cst.BaseSlice = index.with_changes(value=cst.Integer("1" if index.value.value == "0" else "0"))
        elif isinstance(index, cst.Slice) and index.lower is not None and index.upper is None:
            last = cst.UnaryOperation(cst.Minus(), index.lower)
            other = index.with_changes(lower=None, upper=last)
        elif isinstance(index, cst.Slice) and index.lower is None and isinstance(index.upper, cst.UnaryOperation):
            other = index.with_changes(lower=index.upper.expression, upper=None)
        else:
            continue
        slices = [*node.slice[:i], element.with_changes(slice=other), *node.slice[i + 1 :]]
        yield node.with_changes(slice=slices)


def _other_comparison(node: cst.Comparison) -> Iterator[cst.CSTNode]:
    target = node.comparisons[0]
    others: dict[type, cst.BaseCompOp] = {
        cst.GreaterThanEqual: cst.GreaterThan(),
        cst.LessThanEqual: cst.LessThan(),
        cst.NotEqual: cst.Equal(),
    }
    other = others.get(type(target.operator))
    if other is not None and len(node.comparisons) == 1:
        yield node.with_changes(comparisons=[target.with_changes(operator=other)])


def _other_assignment(node: cst.Assign, names: Names) -> Iterator[cst.CSTNode | str]:
    """``b = b - db`` for ``db = b - db``; ``+=`` for ``=`` and for ``=+``; a copy for the same array."""
    if len(node.targets) != 1:
        return
    target, value = node.targets[0], node.value
    if isinstance(target.target, cst.Name) and isinstance(value, cst.BinaryOperation):
        changed = value.left
        if isinstance(changed, cst.Name) and changed.value in names.bound - {target.target.value}:
            yield node.with_changes(targets=[target.with_changes(target=changed)])
    added = cst.AddAssign(target.whitespace_before_equal, target.whitespace_after_equal)
    if isinstance(value, cst.UnaryOperation) and isinstance(value.operator, cst.Plus):
        yield cst.AugAssign(target.target, cst.AddAssign(), value.expression)
    elif isinstance(target.target, (cst.Name, cst.Attribute, cst.Subscript)) and _code(target.target) not in _code(
        value
    ):
        yield cst.AugAssign(target.target, added, value)
    if isinstance(value, (cst.Name, cst.Attribute, cst.Subscript)):
        copied = cst.Call(cst.Attribute(value, cst.Name("copy")))
        yield node.with_changes(value=copied)


def _texts(node: cst.BaseExpression, names: Names, text: str) -> Iterator[str]:
    """Variants that put something around the expression, or another name in its place."""
    if isinstance(node, cst.Name) and text in names.bound:
        yield from names.like(text)
        if text not in names.counts:
            yield f"{text}.T"
    numpy = names.numpy
    if isinstance(node, cst.Call):
        name, inner = _called(node), node.args[0].value if node.args else None
        argument = _code(inner) if inner is not None else ""
        if name == "exp" and len(node.args) == 1:
            for axis in "10":
                maximum = f"{numpy}.max({argument}, axis={axis}, keepdims=True)"
                yield text.replace(f"({argument})", f"({argument} - {maximum})")
        if name in SUMS and len(node.args) == 1:
            yield from (f"{argument} / {count}" for count in names.counts)
        if name == "log" and len(node.args) == 1:
            yield text.replace(f"({argument})", f"({argument} + 1e-12)")
        if name in EMPTY and isinstance(inner, cst.Tuple):
            yield f"{numpy}.random.randn{argument} * 0.01"
        if name in ("randn", "standard_normal") and len(node.args) == 2:
            yield f"{text} / {numpy}.sqrt({argument})"
        if name == "len" or text.endswith("copy()"):
            return
    if node in names.whole and isinstance(node, (cst.Call, cst.BinaryOperation, cst.Name, cst.Subscript)):
        is_product = not isinstance(node, cst.BinaryOperation) or not isinstance(node.operator, (cst.Add, cst.Subtract))
        for count in names.counts:
            yield f"{text if is_product else f'({text})'} / {count}"
    # The sum of an operand of a matrix product makes a number of what was meant to be an array.
    is_value = isinstance(node, cst.BinaryOperation) or (isinstance(node, cst.Name) and text in names.bound)
    if is_value and node not in names.multiplied:
        for axis in "01":
            yield f"{numpy}.sum({text}, axis={axis}, keepdims=True)"
            yield f"{numpy}.sum({text}, axis={axis})"


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


def _bare(node: cst.BaseExpression) -> cst.BaseExpression:
    """The expression without parentheses, which stand around what its position spans."""
    return node.with_changes(lpar=[], rpar=[]) if node.lpar else node


def _called(node: cst.Call) -> str:
    return node.func.attr.value if isinstance(node.func, cst.Attribute) else str(getattr(node.func, "value", ""))


def _with_argument(node: cst.Call, i: int, argument: cst.Arg) -> cst.Call:
    return node.with_changes(args=[*node.args[:i], argument, *node.args[i + 1 :]])


def _is_axis(argument: cst.Arg, name: str, place: int) -> bool:
    if argument.keyword is not None:
        return argument.keyword.value == "axis"
    value = argument.value.expression if isinstance(argument.value, cst.UnaryOperation) else argument.value
    return name in REDUCTIONS and isinstance(value, cst.Integer) and value.value in "012"


def _is_shape(node: cst.BaseExpression) -> bool:
    if isinstance(node, cst.Call):
        node = node.func
    return isinstance(node, cst.Attribute) and node.attr.value == "shape"


def _is_count(node: cst.BaseExpression) -> bool:
    """Whether an expression says how many there are: ``X.shape[0]``, ``len(X)``, ``x.size``."""
    if isinstance(node, cst.Subscript):
        return _is_shape(node.value)
    if isinstance(node, cst.Call):
        return _called(node) == "len"
    return isinstance(node, cst.Attribute) and node.attr.value == "size"


def _code(node: cst.CSTNode) -> str:
    return cst.Module([]).code_for_node(node)
