"""How an array is read in the place of a line: the names that mean it there, and not elsewhere."""

from __future__ import annotations

import ast
from functools import cache

from backprop_doctor.case import Case
from backprop_doctor.program import Event

__all__ = ["numpy_name", "word_for"]


def word_for(case: Case, number: int, at: Event) -> str:
    """The plainest text by which an object can be read at the place of an event; empty where there is none.

    A text is trusted if it stood for the object when it was last read or bound in the same function, and what it is
    indexed by cannot have changed since then.  Else an element will do that the function reads further down, of what
    it has at hand.
    """
    events = case.trace.events
    latest: dict[str, Event] = {}
    turn = -1
    for event in events[: at.index]:
        turn = event.index if event.object == -1 else turn
        latest.update(dict.fromkeys(_texts(case, event, at), event))
    found = {
        text
        for text, event in latest.items()
        if event.object == number and (event.index > turn or not _is_turning(_expression(text)))
    }
    if not found and any(e.object == number for e in events[: at.index]):
        later = (e for e in events[at.index : case.roles.step.middle] if e.object == number)
        elements = {text for e in later for text in _texts(case, e, at) if text not in latest}
        scope = case.program.sites[at.site].scope
        fixed = (text for text in elements if not _is_turning(_expression(text)))
        found = {text for text in fixed if (root := _root(text)) and case.is_read_in(scope, root)}
    found = found or _elsewhere(case, number, at, latest)
    return min(found, key=lambda text: (_plainness(text), len(text), text), default="")


def _elsewhere(case: Case, number: int, at: Event, latest: dict[str, Event]) -> set[str]:
    """Elements that another function knows the object by, of what has the same name and the same content here."""
    others: dict[str, dict[str, int]] = {}
    for event in case.trace.events[: at.index]:
        site = case.program.sites[event.site]
        if event.object != -1 and site.scope != case.program.sites[at.site].scope:
            texts = [site.target or "", case.text(site.node) if site.kind == "load" else ""]
            own = others.setdefault(site.scope, {})
            own |= {text: event.object for text in texts if "[" in text or "." in text}
    found = set()
    for own in others.values():
        same = {_root(text) for text, event in latest.items() if own.get(text) == event.object} - {""}
        known = (text for text, one in own.items() if one == number and _root(text) in same)
        found |= {text for text in known if _expression(text) is not None and not _is_turning(_expression(text))}
    return found


def numpy_name(tree: ast.AST) -> str:
    """What numpy is called in a file; empty where it is not imported as a whole."""
    names = (a for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names if a.name == "numpy")
    return next((alias.asname or "numpy" for alias in names), "")


def _texts(case: Case, event: Event, at: Event) -> list[str]:
    """How an event's value can be read in the function of another event, if it passes there."""
    site = case.program.sites[event.site]
    if event.object == -1 or site.scope != case.program.sites[at.site].scope:
        return []
    texts = [site.target or "", case.text(site.node) if site.kind == "load" else ""]
    return [text for text in texts if _expression(text) is not None]


@cache
def _expression(text: str) -> ast.expr | None:
    """A text as a name, an attribute or an element of one; None for all else."""
    try:
        whole = ast.parse(text, mode="eval").body
    except SyntaxError:
        return None
    is_turned = isinstance(whole, ast.Attribute) and whole.attr == "T"
    return whole if isinstance(_base(whole), ast.Name) and not is_turned else None


def _base(node: ast.expr) -> ast.expr:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node


def _root(text: str) -> str:
    """The name that an element is one of."""
    tree = _expression(text)
    base = None if tree is None else _base(tree)
    return base.id if isinstance(base, ast.Name) and base is not tree else ""


def _is_turning(tree: ast.expr | None) -> bool:
    """Whether an element is chosen by what may be another number in the next turn."""
    chosen = (node.slice for node in ast.walk(tree or ast.Pass()) if isinstance(node, ast.Subscript))
    return any(isinstance(part, (ast.Name, ast.UnaryOp)) for index in chosen for part in ast.walk(index))


def _plainness(text: str) -> int:
    return [ast.Name, ast.Attribute, ast.Subscript].index(type(_expression(text)))
