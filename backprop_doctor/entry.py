"""A way into a file that only defines things: what to call, with which arguments, found by trying.

What a parameter takes is guessed from what is done with it (it sizes an array, counts a loop, scales an update,
is multiplied as a matrix); names only decide what is tried first.  Every guess is a few lines of code that
run after the file, as with ``--call``; the attempt counts in which most gradients turn out right.
"""

from __future__ import annotations

import ast
import itertools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from backprop_doctor.source import Project

__all__ = ["Entry", "entries", "gives_data", "search"]

Kind = Literal["data", "size", "sizes", "count", "few", "rate", "flag", "text", "unknown"]
Function = ast.FunctionDef
Outcome = TypeVar("Outcome")

SECONDS = 4.0
ATTEMPTS = 40
MAKERS = frozenset({"zeros", "ones", "empty", "rand", "randn", "normal", "uniform", "random", "standard_normal", "eye"})
TAKING_DATA = frozenset(
    {"array", "asarray", "asfarray", "atleast_2d", "dot", "len", "log", "matmul", "mean", "shuffle", "sum", "zip"}
)
NUMBERS: dict[Kind, tuple[str, ...]] = {
    "count": ("3",),
    "few": ("1",),
    "flag": ("False",),
    "rate": ("0.1",),
    "sizes": ("[784, 16, 10]",),
}
# Sizes in the order in which they are usually given, by how many there are.
SIZES = {1: (("16",),), 2: (("784", "10"), ("16", "10")), 3: (("784", "16", "10"),), 4: (("784", "16", "16", "10"),)}
PRELUDE = """\
import numpy
from backprop_doctor.mnist import load as load_images
images, digits = load_images("train")
images = images.reshape(len(images), -1) / 255
one_hot = numpy.eye(10)[digits]
points = numpy.random.RandomState(0).normal(size=(97, 2))
sides = (points[:, 0] * points[:, 1] > 0) * 1.0
"""
# Inputs and labels in the forms that programs take them, the usual ones first.
FORMS = (
    ("images", "one_hot"),
    ("images.T", "one_hot.T"),
    ("images", "digits"),
    ("images.T", "digits"),
    ("images.T", "digits.reshape(1, -1)"),
    ("images", "digits.reshape(-1, 1)"),
    ("images", "(digits > 4).reshape(-1, 1) * 1.0"),
    ("images.T", "(digits > 4).reshape(1, -1) * 1.0"),
)
# What is made for two features takes no images.
POINTS = (
    ("points", "sides.reshape(-1, 1)"),
    ("points.T", "sides.reshape(1, -1)"),
    ("points", "sides"),
    ("points", "sides.astype(int)"),
)
PAIRS = (
    "[(x.reshape(-1, 1), y.reshape(-1, 1)) for x, y in zip(images, one_hot)]",
    "[(x, y) for x, y in zip(images, one_hot)]",
)
OURS = ("digits", "images", "load_images", "network", "one_hot", "output", "points", "sides")
TESTING = re.compile(r"test|val|dev|eval", re.IGNORECASE)
LABELS = re.compile(r"^(y|t|d)([_\d].*|s)?$|label|target|truth|expected|answer", re.IGNORECASE)
COUNTS = re.compile(r"epoch|iter|step|round|batch", re.IGNORECASE)
WIDTHS = re.compile(r"hidden|size|dim|unit|neuron|node|width|n_?[xhyio]", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """Code to run after a file, and how it is put in words."""

    code: str
    words: str


@dataclass
class _Code:
    """What the sources of a program define."""

    functions: dict[str, Function] = field(default_factory=dict)
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)

    @classmethod
    def of(cls, tree: ast.Module) -> _Code:
        return cls(
            {node.name: node for node in tree.body if isinstance(node, Function)},
            {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)},
        )


def search(source: Project, attempt: Callable[[Project], tuple[float, Outcome] | None]) -> tuple[Entry, Outcome] | None:
    """The best way into a program that does nothing when it is run.

    Parameters
    ----------
    source : Project
        The program.
    attempt : function of Project to (float, outcome) or None
        Runs the program: the share of parameters whose gradient is right, from 0 to 1; None if nothing trains.
    """
    until = time.monotonic() + SECONDS
    best: tuple[float, Entry, Outcome] | None = None
    for entry in itertools.islice(entries(source), ATTEMPTS):
        outcome = attempt(source.calling(entry.code))
        # Where nothing at all is right, what was called is no training, or not with such arguments.
        if outcome is not None and outcome[0] > (best[0] if best else 0.0):
            best = (outcome[0], entry, outcome[1])
        if time.monotonic() > until or (best is not None and best[0] == 1.0):
            break
    return None if best is None else best[1:]


def gives_data(source: Project) -> bool:
    """Whether what a program is called with are inputs and labels that were chosen here."""
    return source.main[-1].call.startswith(PRELUDE.partition(" load ")[0])


def entries(source: Project) -> Iterator[Entry]:
    """Calls that may train something, the likeliest first."""
    code = _Code.of(ast.Module([statement for part in source.main for statement in part.tree.body], []))
    guesses = [*_functions(code), *_methods(code), *_holders(code), *_drivers(code)]
    seen: set[str] = set()
    taken = _taken(source) & set(OURS)
    # Each form of data of each guess in turn: what comes first is not tried to exhaustion.
    for entry in (entry for turn in itertools.zip_longest(*guesses) for entry in turn if entry is not None):
        if entry.code not in seen:
            seen.add(entry.code)
            yield Entry(_renamed(entry.code, taken), _renamed(entry.words, taken))


def _taken(source: Project) -> set[str]:
    """Names that the program binds anywhere."""
    found: set[str] = set()
    for node in (node for part in source.main for node in ast.walk(part.tree)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name)
    return found


def _renamed(text: str, taken: set[str]) -> str:
    for name in taken:
        text = re.sub(rf"(?<![.\w]){name}\b", f"{name}_", text)
    return text


def _entry(call: str, made: str = "") -> Entry:
    lines = [line.strip() for line in f"{made}{call}".splitlines()]
    words = "; ".join(lines).replace(":; ", ": ")
    return Entry(f"{PRELUDE}{made}{call}\n", words)


def _functions(code: _Code) -> Iterator[Iterator[Entry]]:
    """Functions that loop, those that no other function calls first."""
    called = {name for function in code.functions.values() for name in _called(function) if name != function.name}
    looping = [f for f in code.functions.values() if _loops(f, code, method_of=None)]
    for function in sorted(looping, key=lambda f: (f.name in called, -f.lineno)):
        yield (_entry(f"{function.name}({given})") for given in _arguments(function, code, None))


def _methods(code: _Code) -> Iterator[Iterator[Entry]]:
    """Methods that loop over data, of objects that can be made."""
    for owner in code.classes.values():
        for method in _public(owner):
            if _loops(method, code, method_of=owner) and _kinds(method, code, owner):
                yield _called_on(owner, method, code)


def _called_on(owner: ast.ClassDef, method: Function, code: _Code) -> Iterator[Entry]:
    for given in _arguments(method, code, owner):
        for made in _made(owner, code):
            yield _entry(f"network.{method.name}({given})", f"network = {made}\n")


def _holders(code: _Code) -> Iterator[Iterator[Entry]]:
    """Objects that are made with the data, and then told to train, or to do the parts of a step in turn."""
    for owner in code.classes.values():
        maker = _maker(owner)
        kinds = _kinds(maker, code, owner) if maker is not None else []
        if [kind for _, kind in kinds].count("data") >= 2:
            yield _held(owner, kinds, code)


def _held(owner: ast.ClassDef, kinds: list[tuple[str, Kind]], code: _Code) -> Iterator[Entry]:
    names = [name for name, kind in kinds if kind == "data"]
    wanted = {method.name: _kinds(method, code, owner) for method in _public(owner)}
    looping = [method.name for method in _public(owner) if _loops(method, code, method_of=owner)]
    parts = [name for name, own in wanted.items() if not own and name not in looping]
    for x, y in (*FORMS, *POINTS):
        made = f"network = {owner.name}({_filled(kinds, _shared(names, x, y), {})})\n"
        for name in looping:
            data = _shared([of for of, kind in wanted[name] if kind == "data"], x, y)
            yield _entry(f"network.{name}({_filled(wanted[name], data, {})})", made)
        if parts:
            yield _entry("for _ in range(5):\n" + "".join(f"    network.{name}()\n" for name in parts), made)


def _drivers(code: _Code) -> Iterator[Iterator[Entry]]:
    """Loops around methods that do a single step, or the parts of one."""
    for owner in code.classes.values():
        plain = [m for m in _public(owner) if not _loops_over_data(m)]
        taking = {m.name: [kind for _, kind in _kinds(m, code, owner)].count("data") for m in plain}
        for method in plain:
            if taking[method.name] >= 2 and _changes_self(method, owner):
                yield _stepped(owner, [method], code)
        yield _gradients(owner, code)
        forward = next((m for m in plain if taking[m.name] == 1), None)
        if forward is None:
            continue
        after = [m for m in plain[plain.index(forward) + 1 :] if _changes_self(m, owner)]
        backward = next((m for m in after if taking[m.name] >= 1), None)
        if backward is not None:
            updates = [m for m in after[after.index(backward) + 1 :] if taking[m.name] == 0][:1]
            yield _stepped(owner, [forward, backward, *updates], code)


def _gradients(owner: ast.ClassDef, code: _Code) -> Iterator[Entry]:
    """A loop around a method that returns gradients, for parameters that are kept in a dictionary."""
    maker = _maker(owner)
    kept = [
        node.targets[0].attr
        for node in ast.walk(maker or ast.Pass())
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Attribute)
        and (
            isinstance(node.value, ast.Dict)
            or (isinstance(node.value, ast.Call) and _name_of(node.value.func) == "dict")
        )
    ]
    for method, bound, (x, y) in itertools.product(reversed(_public(owner)), ("", "_, "), FORMS[:6]):
        kinds = [kind for _, kind in _kinds(method, code, owner)]
        returns = any(isinstance(node, ast.Return) and node.value is not None for node in ast.walk(method))
        if len(kinds) != 2 or not kept or not returns:
            continue
        loop = (
            f"for _ in range(5):\n    {bound}gradients = network.{method.name}({x}, {y})\n    for name in gradients:\n"
            f"        network.{kept[0]}[name] -= 0.1 * gradients[name]\n"
        )
        for made in _made(owner, code):
            yield _entry(loop, f"network = {made}\n")


def _stepped(owner: ast.ClassDef, methods: Sequence[Function], code: _Code) -> Iterator[Entry]:
    for x, y in (*FORMS, *POINTS):
        for back in (y, f"output - {y}"):
            lines = []
            for method in methods:
                kinds = _kinds(method, code, owner)
                data = iter((x, y)) if len(methods) == 1 or method is methods[0] else iter((back,))
                if len(methods) > 1 and [kind for _, kind in kinds].count("data") > 1:
                    data = iter((x, y, "output"))
                given = ", ".join(next(data, y) if kind == "data" else _number(kind) for _, kind in kinds)
                bound = "output = " if method is methods[0] and len(methods) > 1 else ""
                lines.append(f"    {bound}network.{method.name}({given})\n")
            for made in _made(owner, code):
                yield _entry("for _ in range(5):\n" + "".join(lines), f"network = {made}\n")
            if len(methods) == 1:
                break
    if len(methods) == 1:
        kinds = _kinds(methods[0], code, owner)
        for x, y in (("x", "y"), ("x.reshape(-1, 1)", "y.reshape(-1, 1)")):
            sample = iter((x, y))
            given = ", ".join(next(sample, y) if kind == "data" else _number(kind) for _, kind in kinds)
            for made in _made(owner, code):
                loop = f"for x, y in zip(images, one_hot):\n    network.{methods[0].name}({given})\n"
                yield _entry(loop, f"network = {made}\n")


def _number(kind: Kind) -> str:
    return NUMBERS.get(kind, ("0.1" if kind == "unknown" else "16",))[0]


def _made(owner: ast.ClassDef, code: _Code) -> Iterator[str]:
    """Calls that make an object of a class."""
    maker = _maker(owner)
    if maker is None:
        yield f"{owner.name}()"
        return
    kinds = _kinds(maker, code, owner)
    if any(kind == "data" for _, kind in kinds):
        # Objects are rarely made from data: what is measured and indexed there are the sizes of layers.
        for layers in ("[784, 16, 10]", "[16]"):
            lists = {name: layers for name, kind in kinds if kind == "data"}
            yield f"{owner.name}({_filled(kinds, lists, {})})"
    yield from (f"{owner.name}({given})" for given in _arguments(maker, code, owner))


def _arguments(function: Function, code: _Code, owner: ast.ClassDef | None) -> Iterator[str]:
    """Texts of arguments, one for each form in which the data may be wanted."""
    kinds = _kinds(function, code, owner)
    names = [name for name, kind in kinds if kind == "data"]
    plain = [name for name, kind in kinds if kind == "size"]
    sizes = SIZES.get(len(plain), (("16",) * len(plain),))
    if not names:
        yield from (_filled(kinds, {}, dict(zip(plain, chosen, strict=True))) for chosen in sizes)
        return
    forms = [{names[0]: pairs} for pairs in PAIRS] if len(names) == 1 else []
    forms += [_shared(names, x, y) for x, y in FORMS]
    if len(names) > 1:  # and the other way round: names may say nothing
        forms += [_shared(names, x, y) for x, y in POINTS]
        forms += [_shared(names, y, x) for x, y in FORMS]
    for form in forms:
        for chosen in sizes:
            yield _filled(kinds, form, dict(zip(plain, chosen, strict=True)))


def _shared(names: Sequence[str], x: str, y: str) -> dict[str, str]:
    """Inputs and labels given to parameters: by their names where these tell, else in turn."""
    told = [bool(LABELS.search(re.sub(TESTING, "", name).strip("_"))) for name in names]
    if any(told) and not all(told):
        return {name: y if label else x for name, label in zip(names, told, strict=True)}
    return {name: (x, y)[number % 2] for number, name in enumerate(names)}


def _filled(kinds: Sequence[tuple[str, Kind]], data: dict[str, str], sizes: dict[str, str]) -> str:
    given = []
    for name, kind in kinds:
        text = data.get(name) or sizes.get(name) or _number(kind)
        given.append('"relu"' if kind == "text" else text)
    return ", ".join(given)


# -- what a parameter takes --------------------------------------------------------------------------------


def _kinds(function: Function, code: _Code, owner: ast.ClassDef | None) -> list[tuple[str, Kind]]:
    """The parameters that must be given, each with what it seems to take."""
    arguments = [*function.args.posonlyargs, *function.args.args]
    if owner is not None and not _is_static(function):
        arguments = arguments[1:]
    required = len([*function.args.posonlyargs, *function.args.args]) - len(function.args.defaults)
    required -= len([*function.args.posonlyargs, *function.args.args]) - len(arguments)
    needed = arguments[: max(required, 0)]
    optional = function.args.defaults[:1]
    # Labels that are left out where the network only predicts: ``loss(self, X, y=None)``.
    if len(needed) == 1 and optional and isinstance(optional[0], ast.Constant) and optional[0].value is None:
        needed = arguments[:2]
    kinds = [(argument.arg, _kind(argument.arg, function, code, owner, 0)) for argument in needed]
    if [kind for _, kind in kinds].count("data") == 1:
        # Labels may be used in ways that say nothing: what cannot be told beside inputs is taken for them.
        return [(name, "data" if kind == "unknown" else kind) for name, kind in kinds]
    return kinds


def _kind(name: str, function: Function, code: _Code, owner: ast.ClassDef | None, depth: int) -> Kind:
    seen: list[Kind] = list(_uses(name, function, function, code, owner, depth))
    if owner is not None:
        kept = {
            node.targets[0].attr
            for node in ast.walk(function)
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == name
        }
        for method in (node for node in owner.body if isinstance(node, Function)):
            for attribute in sorted(kept):
                seen += _uses(f"self.{attribute}", method, method, code, owner, depth)
    for kind in ("sizes", "text", "size", "count", "data", "few", "rate", "flag"):
        if kind in seen:
            if kind == "count" and "size" not in seen and WIDTHS.search(name) and not COUNTS.search(name):
                return "size"
            return kind
    return "unknown"


def _uses(
    name: str, tree: ast.AST, function: Function, code: _Code, owner: ast.ClassDef | None, depth: int
) -> Iterator[Kind]:
    """What the uses of a name say about what it takes."""

    def is_it(node: ast.AST | None) -> bool:
        if "." in name:
            return isinstance(node, ast.Attribute) and ast.unparse(node) == name
        return isinstance(node, ast.Name) and node.id == name

    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = _name_of(node.func)
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            if called in MAKERS:
                inside = [part for argument in given for part in ast.walk(argument)]
                if any(isinstance(part, ast.Subscript) and is_it(part.value) for part in inside):
                    yield "sizes"
                whole: list[ast.expr] = [
                    p for p in inside if isinstance(p, ast.Attribute) and p.attr in ("shape", "size")
                ]
                whole += [p for p in inside if isinstance(p, ast.Call) and _name_of(p.func) == "len"]
                if any(is_it(part) for measured in whole for part in ast.walk(measured)):
                    yield "data"
                elif any(map(is_it, inside)):
                    yield "size"
            elif called == "range" and any(is_it(part) for part in ast.walk(node)):
                measured: list[ast.expr] = [p for p in ast.walk(node) if isinstance(p, (ast.Attribute, ast.Subscript))]
                measured += [p for p in ast.walk(node) if isinstance(p, ast.Call) and _name_of(p.func) == "len"]
                yield "data" if any(is_it(part) for whole in measured for part in ast.walk(whole)) else "count"
            elif called in TAKING_DATA and any(map(is_it, given)):
                yield "data"
            elif depth < 3:
                yield from _passed(node, called, is_it, code, owner, depth)
        elif isinstance(node, ast.Attribute) and is_it(node.value):
            if node.attr in ("shape", "T", "size", "copy"):
                yield "data"
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            if is_it(node.left) or is_it(node.right):
                yield "data"
        elif isinstance(node, (ast.If, ast.IfExp)) and is_it(node.test):
            yield "flag"
        elif (isinstance(node, ast.For) and is_it(node.iter)) or (
            isinstance(node, ast.Subscript) and _picks(node, is_it)
        ):
            yield "data"
        elif isinstance(node, ast.Compare) and is_it(node.left):
            constants = [c.value for c in node.comparators if isinstance(c, ast.Constant)]
            if any(isinstance(value, str) for value in constants):
                yield "text"
            elif any(type(value) is int and value > 0 for value in constants):
                yield "few"  # how many layers there are, say
        elif isinstance(node, ast.Subscript) and is_it(node.value):
            yield "sizes" if _is_neighbours(node) else "data"
        elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Div)):
            if is_it(node.left) or is_it(node.right):
                yield "rate"
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and (is_it(node.left) or is_it(node.right)):
            yield "data"


def _passed(
    node: ast.Call,
    called: str,
    is_it: Callable[[ast.AST], bool],
    code: _Code,
    owner: ast.ClassDef | None,
    depth: int,
) -> Iterator[Kind]:
    """What a function of the program does with what it is given."""
    target: Function | None = code.functions.get(called)
    home: ast.ClassDef | None = None
    if target is None and isinstance(node.func, ast.Attribute):
        home = owner
        target = next((m for m in (owner.body if owner else []) if isinstance(m, Function) and m.name == called), None)
    elif target is None and called in code.classes:
        home = code.classes[called]
        target = next((m for m in home.body if isinstance(m, Function) and m.name == "__init__"), None)
    if target is None:
        return
    names = [argument.arg for argument in target.args.args]
    names = names[1:] if home is not None and not _is_static(target) else names
    for name, given in zip(names, node.args, strict=False):
        if is_it(given):
            yield _kind(name, target, code, home, depth + 1)
    for keyword in node.keywords:
        if keyword.arg in names and is_it(keyword.value):
            yield _kind(str(keyword.arg), target, code, home, depth + 1)


def _picks(node: ast.AST, is_it: Callable[[ast.AST], bool]) -> bool:
    """Whether a name picks entries by label: ``p[range(n), y]``, ``eye(10)[y]``."""
    if not isinstance(node, ast.Subscript):
        return False
    if isinstance(node.slice, ast.Tuple):
        return any(map(is_it, node.slice.elts))
    return isinstance(node.value, ast.Call) and is_it(node.slice)


def _is_neighbours(node: ast.Subscript) -> bool:
    """Whether a slice or index is one of a list of layers: ``[1:]``, ``[:-1]``, ``[i + 1]``, ``[-1]``."""
    return ast.unparse(node.slice) in ("1:", ":-1", "-1", "i + 1", "l + 1")


# -- functions and classes ---------------------------------------------------------------------------------


def _public(owner: ast.ClassDef) -> list[Function]:
    return [node for node in owner.body if isinstance(node, Function) and not node.name.startswith("_")]


def _maker(owner: ast.ClassDef) -> Function | None:
    return next((node for node in owner.body if isinstance(node, Function) and node.name == "__init__"), None)


def _is_static(function: Function) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "staticmethod" for node in function.decorator_list)


def _name_of(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _called(node: ast.AST) -> set[str]:
    return {_name_of(call.func) for call in ast.walk(node) if isinstance(call, ast.Call)}


def _loops(function: Function, code: _Code, method_of: ast.ClassDef | None, depth: int = 0) -> bool:
    """Whether a function goes round a loop that does more than reckon, by itself or in what it calls."""
    if any(isinstance(node, (ast.For, ast.While)) for node in ast.walk(function)):
        return True
    if depth > 2:
        return False
    own = {m.name: m for m in (method_of.body if method_of else []) if isinstance(m, Function)}
    names = _called(function) - {function.name}
    return any(_loops(code.functions[n], code, None, depth + 1) for n in names if n in code.functions) or any(
        _loops(own[n], code, method_of, depth + 1) for n in names if n in own
    )


def _loops_over_data(function: Function) -> bool:
    """Whether a method counts turns that its caller asks for: the training itself."""
    names = {argument.arg for argument in function.args.args}
    loops = [node for node in ast.walk(function) if isinstance(node, ast.For)]
    return any(
        isinstance(loop.iter, ast.Call)
        and _name_of(loop.iter.func) == "range"
        and any(isinstance(part, ast.Name) and part.id in names for part in loop.iter.args)
        for loop in loops
    )


def _changes_self(function: Function, owner: ast.ClassDef) -> bool:
    """Whether a method stores something, or calls one that does."""
    own = {m.name: m for m in owner.body if isinstance(m, Function) and m.name != "__init__"}
    pending, seen = [function], {function.name}
    while pending:
        method = pending.pop()
        if any(_is_stored(node) for node in ast.walk(method)):
            return True
        names = _called(method) & set(own) - seen
        seen |= names
        pending += [own[name] for name in sorted(names)]
    return False


def _is_stored(node: ast.AST) -> bool:
    """Whether something is kept there: in an attribute of the object, or in an array or a dictionary."""
    return (
        isinstance(node, (ast.Attribute, ast.Subscript))
        and isinstance(node.ctx, ast.Store)
        and (isinstance(node, ast.Subscript) or (isinstance(node.value, ast.Name) and node.value.id == "self"))
    )
