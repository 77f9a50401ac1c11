"""Rewrite a program so that every value it computes, reads or stores passes through a probe.

The rewritten tree does what the original does: each expression ``e`` becomes ``probe(site, e)``, each
in-place store is followed by a probe of what was stored into, each loop body begins with a tick, at
which a probe may also end the loop.
Line numbers stay, so that tracebacks point at the user's own lines.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, Literal

from backprop_doctor.source import Project, Source, counts_in

__all__ = ["COUNT", "CURRENT", "PART", "PROBE", "TICK", "Instrumented", "Site", "instrument"]

# One leading underscore: two would be mangled inside classes.
PROBE = "_backprop_doctor_probe"
TICK = "_backprop_doctor_tick"
CURRENT = "_backprop_doctor_current"
COUNT = "_backprop_doctor_count"
PART = "_backprop_doctor_part"

# Names that a module finds, and that say where it is.
MODULE_NAMES = frozenset({"__name__", "__file__", "__package__", "__path__"})

# Calls in targets, such as params["W" + str(l)], that are safe to repeat.
REPEATABLE = ("str", "len", "int", "globals", "vars")
# What reading a value says that is not there.
NOT_THERE = ("NameError", "LookupError", "AttributeError", "TypeError")

Kind = Literal["load", "operation", "call", "constant", "store", "loop"]


@dataclass(slots=True)
class Site:
    """A place in the program through which values pass.

    ``source`` is the file or cell it stands in.  ``kind`` tells how the value comes about: read (``load``),
    computed (``operation``, ``call``), written out (``constant``), changed in place (``store``); a ``loop``
    has ticks instead of values.  ``target`` is the text the value is bound to, ``statement`` the enclosing
    simple statement (or loop header), ``parent`` the enclosing expression's site.  ``over`` are, of a name that a
    loop binds at each turn, the sites that read what the loop goes through.
    """

    id: int
    source: Source
    kind: Kind
    node: ast.AST
    statement: ast.stmt
    scope: str
    target: str | None = None
    parent: int | None = None
    children: list[int] = field(default_factory=list)
    over: list[int] = field(default_factory=list)

    @property
    def line(self) -> int:
        """First line of the expression."""
        return int(self.node.lineno)  # type: ignore[attr-defined]


class Instrumented:
    """A program ready to run under a probe.

    Modules of the user's are instrumented when they are imported first, and their sites follow those there are:
    since a program imports its modules in the same order each time, a site has the same number in every run.

    Attributes
    ----------
    source : Project
    sites : list of Site
    blocks : tuple of code
        What runs as ``__main__``, one after the other.
    """

    def __init__(self, source: Project, only: frozenset[int] | None = None) -> None:
        self.source = source
        self.sites: list[Site] = []
        self._only = only
        self._modules: dict[str, CodeType] = {}
        self.blocks = tuple(self._instrumented(part) for part in source.main)

    def module(self, path: str) -> CodeType:
        """The code of a module.

        Raises
        ------
        SourceError
            If it cannot be read or does not parse.
        """
        if path not in self._modules:
            self._modules[path] = self._instrumented(self.source.module(path))
        return self._modules[path]

    def _instrumented(self, source: Source) -> CodeType:
        # Sites keep nodes of the pristine tree; the rewriting happens on a second one.
        pristine = source.tree
        rewriter = _Rewriter(source, self.sites, self._only)
        tree = source.parse()
        rewriter.pair(pristine, tree)
        if self.source.sized:
            tree = _Counts(counts_in(tree, self.source.sized)).visit(tree)
        tree = ast.fix_missing_locations(rewriter.visit(tree))
        return compile(tree, source.name, "exec")


def instrument(source: Source | Project, only: frozenset[int] | None = None) -> Instrumented:
    """Put a probe at every site of a program.

    Parameters
    ----------
    source : Source or Project
        The program.
    only : set of int, optional
        Sites that get a probe where not all should: a program that is to run at its own speed.

    Raises
    ------
    SourceError
        If the file does not parse.
    """
    return Instrumented(Project.of(source), only)


class _Counts(ast.NodeTransformer):
    """Lets numbers of images be as many as are served in each run."""

    def __init__(self, counts: list[ast.Constant]) -> None:
        self._counts = {id(node) for node in counts}

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if id(node) not in self._counts:
            return node
        return ast.copy_location(ast.Call(ast.Name(COUNT, ast.Load()), [node], []), node)

    def visit_MatchValue(self, node: ast.AST) -> ast.AST:
        return node


@dataclass
class _Loop:
    """A loop that is being rewritten: names that are others at each turn, and by its text what it fills, and where."""

    turning: set[str]
    filled: dict[str, tuple[ast.expr, ast.stmt]] = field(default_factory=dict)


class _Rewriter(ast.NodeTransformer):
    def __init__(self, source: Source, sites: list[Site], only: frozenset[int] | None = None) -> None:
        self._source = source
        self._only = only
        self.sites = sites
        self._originals: dict[int, ast.AST] = {}
        self._modules: set[str] = set()
        self._scope: list[str] = []
        self._statement: ast.stmt = ast.Pass()
        self._parents: list[Site] = []
        self._loops: list[_Loop] = []

    def pair(self, pristine: ast.AST, copy: ast.AST) -> None:
        for original, twin in zip(ast.walk(pristine), ast.walk(copy), strict=True):
            self._originals[id(twin)] = original
            if isinstance(original, ast.Import):
                self._modules |= {(a.asname or a.name).split(".")[0] for a in original.names}
        self._keepalive = copy

    # -- sites -------------------------------------------------------------------------------------

    def _site(self, node: ast.AST, kind: Kind, target: str | None = None) -> Site:
        parent = self._parents[-1] if self._parents else None
        site = Site(
            len(self.sites),
            self._source,
            kind,
            self._originals.get(id(node), node),
            self._statement,
            ".".join(self._scope),
            target,
            parent.id if parent else None,
        )
        self.sites.append(site)
        if parent:
            parent.children.append(site.id)
        return site

    def _probed(self, node: ast.expr, kind: Kind, inside: list[ast.AST] | None = None) -> ast.expr:
        """Visit the operands of an expression, then wrap it."""
        site = self._site(node, kind)
        self._parents.append(site)
        self.generic_visit(node)
        self._parents.pop()
        return self._wrap(site, node)

    def _wrap(self, site: Site, node: ast.expr) -> ast.expr:
        if self._only is not None and site.id not in self._only:
            return node
        call = ast.Call(ast.Name(PROBE, ast.Load()), [ast.Constant(site.id), node], [])
        return ast.copy_location(call, node)

    # -- expressions -------------------------------------------------------------------------------

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if not isinstance(node.ctx, ast.Load) or node.id in self._modules or node.id in MODULE_NAMES:
            return node
        return self._wrap(self._site(node, "load"), node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        if not isinstance(node.ctx, ast.Load):
            return node
        if _root(node) in self._modules:
            return self._wrap(self._site(node, "load"), node)
        return self._probed(node, "load")

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        return self._probed(node, "load") if isinstance(node.ctx, ast.Load) else node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if isinstance(node.func, ast.Name) and node.func.id == COUNT:
            return node
        if isinstance(node.func, ast.Name) and node.func.id == "id":
            return node  # where an object lies, which is elsewhere in each run, is no value
        # A call with ``out=`` changes an array that others know: nothing new takes its place.
        site = self._site(node, "store" if any(k.arg == "out" for k in node.keywords) else "call")
        self._parents.append(site)
        if isinstance(node.func, ast.Attribute):
            if _root(node.func) not in self._modules:
                node.func.value = self.visit(node.func.value)
        elif not isinstance(node.func, ast.Name):
            node.func = self.visit(node.func)
        node.args = [self.visit(arg) for arg in node.args]
        for keyword in node.keywords:
            keyword.value = self.visit(keyword.value)
        self._parents.pop()
        return self._wrap(site, node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        return self._probed(node, "operation")

    visit_UnaryOp = visit_BoolOp = visit_Compare = visit_IfExp = visit_BinOp  # type: ignore[assignment]

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return node

    def visit_Slice(self, node: ast.Slice) -> ast.expr:
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.expr:
        node.body = self.visit(node.body)
        return node

    def visit_NamedExpr(self, node: ast.NamedExpr) -> ast.expr:
        node.value = self._bound(node.value, [node.target])
        return node

    # -- statements --------------------------------------------------------------------------------

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.stmt):
            outer, self._statement = self._statement, self._originals.get(id(node), node)  # type: ignore[assignment]
            parents, self._parents = self._parents, []
            result = super().visit(node)
            self._statement, self._parents = outer, parents
            return result
        return super().visit(node)

    def _bound(self, value: ast.expr, targets: list[ast.expr]) -> ast.expr:
        """Visit a value and note what it is bound to; tuples are matched element by element."""
        if isinstance(value, ast.Tuple) and len(targets) == 1 and isinstance(targets[0], (ast.Tuple, ast.List)):
            names = targets[0].elts
            if len(names) == len(value.elts) and not any(isinstance(e, ast.Starred) for e in [*names, *value.elts]):
                value.elts = [self._bound(v, [t]) for v, t in zip(value.elts, names, strict=True)]
                return value
        first = len(self.sites)
        if isinstance(value, ast.Constant) and type(value.value) is float:
            return self._wrap(self._site(value, "constant", ast.unparse(targets[-1])), value)
        is_list = isinstance(value, (ast.List, ast.ListComp))
        result: ast.expr = self._probed(value, "operation") if is_list else self.visit(value)
        if len(self.sites) > first and self.sites[first].node is self._originals.get(id(value)):
            self.sites[first].target = ast.unparse(targets[-1])
        return result

    def visit_Assign(self, node: ast.Assign) -> list[ast.stmt]:
        first = len(self.sites)
        node.value = self._bound(node.value, node.targets)
        parts = self._parts(node, first)
        # An array filled element by element is seen when it is full: to look at each time would take too long.
        stored = [s for t in node.targets for s in self._wholes(t, None)]
        self._visit_indices(node.targets)
        return [node, *parts, *stored]

    def _parts(self, node: ast.Assign, first: int) -> list[ast.stmt]:
        """Probe the numbers into which an array was taken apart: each has a place of its own from there on."""
        if len(node.targets) != 1 or not isinstance(node.targets[0], (ast.Tuple, ast.List)):
            return []
        whole = [site.id for site in self.sites[first : first + 1] if site.parent is None]
        found: list[ast.stmt] = []
        for target in node.targets[0].elts if not isinstance(node.value, ast.Tuple) else ():
            if not isinstance(target, (ast.Name, ast.Attribute)) or not _is_pure(target):
                continue
            site = self._site(target, "load", ast.unparse(target))
            site.children += whole
            read = ast.copy_location(ast.parse(ast.unparse(target), mode="eval").body, node)
            probed = self._wrap(site, read)
            if probed is not read and isinstance(probed, ast.Call):
                probed.func = ast.Name(PART, ast.Load())
                found.append(ast.copy_location(ast.Assign([_stored_copy(target)], probed), node))
        return found

    def _filling(self, index: ast.expr) -> _Loop | None:
        """The innermost loop at each turn of which an index is another one."""
        names = _index_names(index)
        return next((loop for loop in reversed(self._loops) if names & loop.turning), None)

    def _wholes(self, target: ast.expr, loop: _Loop | None) -> list[ast.stmt]:
        """Probe what a target is an element of, and so on up to the whole; what a loop fills is seen after it.

        ``loop`` is the one that fills the target itself.
        """
        found: list[ast.stmt] = []
        while isinstance(target, ast.Subscript) and _is_pure(target.value):
            loop = self._filling(target.slice) or loop
            if loop is None:
                found += self._stored(target)
            else:
                loop.filled.setdefault(ast.unparse(target.value), (target.value, self._statement))
            target = target.value
        return found

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self._bound(node.value, [node.target])
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> list[ast.stmt]:
        node.value = self.visit(node.value)
        pristine = node.target
        wholes: list[ast.stmt] = []
        if isinstance(pristine, ast.Subscript):
            wholes = self._wholes(pristine.value, self._filling(pristine.slice))
        node.target = ast.parse(f"{ast.unparse(pristine)} += 0").body[0].target  # type: ignore[attr-defined]
        for twin, original in zip(ast.walk(node.target), ast.walk(pristine), strict=True):
            self._originals[id(twin)] = self._originals.get(id(original), original)
            if isinstance(original, ast.expr):
                ast.copy_location(twin, original)
        self._visit_indices([node.target])
        if not _is_pure(pristine):
            return [node, *self._stored(pristine), *wholes]
        read = ast.parse(ast.unparse(pristine), mode="eval").body
        before = ast.Assign([_stored_copy(pristine)], _current(_places(ast.copy_location(read, node))))
        return [ast.copy_location(before, node), node, *self._restored(pristine, node), *wholes]

    def _visit_indices(self, targets: list[ast.expr]) -> None:
        """Labels often enter as an index on the left: ``delta[range(n), y] -= 1``."""
        for target in targets:
            if isinstance(target, (ast.Tuple, ast.List)):
                self._visit_indices(target.elts)
            elif isinstance(target, ast.Subscript):
                target.slice = self.visit(target.slice)
                target.value = _current(_places(target.value))

    def _restored(self, target: ast.expr, node: ast.stmt) -> list[ast.stmt]:
        """Probe what an in-place operator left at its target, and put the answer there."""
        site = self._site(target, "store", ast.unparse(target))
        read = ast.parse(ast.unparse(target), mode="eval").body
        after = ast.Assign([_stored_copy(target)], self._wrap(site, _places(ast.copy_location(read, node))))
        return [ast.copy_location(after, node), *self._stored(target)]

    def _stored(self, target: ast.expr) -> list[ast.stmt]:
        """Probe an array after an element or a slice of it was assigned."""
        if not isinstance(target, ast.Subscript) or not _is_pure(target.value):
            return []
        site = self._site(target.value, "store", ast.unparse(target.value))
        read = ast.parse(ast.unparse(target.value), mode="eval").body
        return [ast.copy_location(ast.Expr(self._wrap(site, _places(ast.copy_location(read, target)))), target)]

    def visit_For(self, node: ast.For) -> list[ast.stmt]:
        first = len(self.sites)
        node.iter = self.visit(node.iter)
        return self._loop(node, [site.id for site in self.sites[first:] if site.kind == "load"])

    def visit_While(self, node: ast.While) -> list[ast.stmt]:
        node.test = self.visit(node.test)
        return self._loop(node)

    def _loop(self, node: ast.For | ast.While, over: list[int] | None = None) -> list[ast.stmt]:
        site = self._site(node, "loop")
        first = len(self.sites)
        bound = self._loop_targets(node.target) if isinstance(node, ast.For) else []
        for target in self.sites[first:]:
            target.over = over or []
        loop = _Loop(_turning(node))
        self._loops.append(loop)
        node.body, node.orelse = self._block(node.body), self._block(node.orelse)
        self._loops.pop()
        if self._only is not None:
            node.body[:0] = [_tick_or_break(site.id, node)] if site.id in self._only else []
            return [node]
        node.body[:0] = [_tick_or_break(site.id, node), *bound]
        return [node, _tick(site.id, node, 1), *(self._filled(*full) for full in loop.filled.values())]

    def _filled(self, target: ast.expr, statement: ast.stmt) -> ast.stmt:
        """Probe what a loop has filled; a loop of no turns may leave nothing behind that has the name."""
        outer, self._statement = self._statement, statement
        site = self._site(target, "store", ast.unparse(target))
        self._statement = outer
        read = ast.copy_location(ast.parse(ast.unparse(target), mode="eval").body, target)
        faults: list[ast.expr] = [ast.Name(name, ast.Load()) for name in NOT_THERE]
        nothing = ast.ExceptHandler(ast.Tuple(faults, ast.Load()), None, [ast.Pass()])
        probed = ast.Expr(self._wrap(site, _places(read)))
        return ast.copy_location(ast.Try([probed], [nothing], [], []), target)

    def _loop_targets(self, target: ast.expr) -> list[ast.stmt]:
        """Probe what a loop binds to names at each turn: a number that is read twice is one value."""
        names = [n for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        found: list[ast.stmt] = []
        for name in names:
            read = ast.copy_location(ast.Name(name.id, ast.Load()), name)
            value = self._wrap(self._site(name, "load"), read)
            found.append(ast.copy_location(ast.Assign([ast.Name(name.id, ast.Store())], value), name))
        return found

    def _block(self, body: list[ast.stmt]) -> list[ast.stmt]:
        result: list[ast.stmt] = []
        for statement in body:
            new = self.visit(statement)
            result += new if isinstance(new, list) else [new]
        return result

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        loops, self._loops = self._loops, []
        self._scope.append(node.name)
        node.body = self._block(node.body)
        self._scope.pop()
        self._loops = loops
        return node

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        loops, self._loops = self._loops, []
        self._scope.append(node.name)
        node.body = self._block(node.body)
        self._scope.pop()
        self._loops = loops
        return node

    def visit_Import(self, node: ast.Import) -> ast.AST:
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        return node

    def visit_Delete(self, node: ast.Delete) -> ast.AST:
        return node

    def visit_Match(self, node: ast.Match) -> ast.AST:
        node.subject = self.visit(node.subject)
        for case in node.cases:
            case.body = self._block(case.body)
        return node


def _turning(loop: ast.For | ast.While) -> set[str]:
    """Names that are another number at each turn of a loop."""
    if isinstance(loop, ast.For):
        return {n.id for n in ast.walk(loop.target) if isinstance(n, ast.Name)}
    counted = (n.target for n in ast.walk(loop) if isinstance(n, ast.AugAssign))
    return {target.id for target in counted if isinstance(target, ast.Name)}


def _index_names(index: ast.AST) -> set[str]:
    """Names that count in an index; in ``row[-1]`` the number is looked up, and not counted."""
    if isinstance(index, ast.Name):
        return {index.id}
    parts = [index.slice] if isinstance(index, ast.Subscript) else ast.iter_child_nodes(index)
    return set[str]().union(*map(_index_names, parts))


def _current(node: ast.expr) -> ast.expr:
    """What stands for an array at present: the place to change in place."""
    return ast.copy_location(ast.Call(ast.Name(CURRENT, ast.Load()), [node], []), node)


def _places(node: ast.expr) -> ast.expr:
    """An expression such as ``w[j]``, in which what stands for ``w`` at present is looked into."""
    if isinstance(node, ast.Subscript):
        node.value = _current(_places(node.value))
    return node


def _tick(site: int, node: ast.stmt, end: int) -> ast.stmt:
    call = ast.Call(ast.Name(TICK, ast.Load()), [ast.Constant(site), ast.Constant(end)], [])
    return ast.copy_location(ast.Expr(call), node)


def _tick_or_break(site: int, node: ast.stmt) -> ast.stmt:
    """The tick that opens a turn; a probe may answer that there have been turns enough."""
    tick = _tick(site, node, 0)
    assert isinstance(tick, ast.Expr)
    return ast.copy_location(ast.If(tick.value, [ast.copy_location(ast.Break(), node)], []), node)


def _root(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _is_pure(node: ast.AST) -> bool:
    """Whether reading the expression a second time has no side effects."""
    plain = (ast.Name, ast.Attribute, ast.Subscript, ast.Constant, ast.Tuple, ast.Slice, ast.BinOp, ast.UnaryOp)
    contexts = (ast.expr_context, ast.operator, ast.unaryop)
    return all(
        isinstance(n, plain + contexts)
        or (isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id in REPEATABLE)
        or isinstance(n, (ast.JoinedStr, ast.FormattedValue))
        for n in ast.walk(node)
    )


def _stored_copy(target: ast.expr) -> ast.expr:
    copy = ast.parse(f"{ast.unparse(target)} = 0").body[0]
    assert isinstance(copy, ast.Assign)
    stored = copy.targets[0]
    return _places(stored)
