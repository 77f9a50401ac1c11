"""BD602 shuffle-breaks-pairs: a shuffle separates inputs from their labels, or loses rows.

What it does
------------
Finds a shuffle after which inputs meet the labels of other samples, or after
which rows of an array are doubled and others lost.

Why it is wrong
---------------
Sample i is the pair (x[i], y[i]). With two permutations p and q the program
trains on (x[p[i]], y[q[i]]), which for p other than q is noise: the network
can learn the shares of the classes and nothing else.

random.shuffle of Python's library exchanges x[i] and x[j]. Rows of an array
are views of its memory: after the first half of the exchange both are the
same row, and the other is lost.

Example (samples first)
-----------------------
X is shuffled and Y is not::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 6))
    Y = np.eye(3)[(X @ rng.normal(size=(6, 3))).argmax(axis=1)]
    rng.shuffle(X)
    W1, b1 = rng.normal(size=(6, 5)) / np.sqrt(6), np.zeros((1, 5))
    W2, b2 = rng.normal(size=(5, 3)) / np.sqrt(5), np.zeros((1, 3))
    for step in range(15):
        A1 = np.tanh(X @ W1 + b1)
        Z2 = A1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.mean(np.sum(Y * np.log(A2 + 1e-12), axis=1))
        dZ2 = (A2 - Y) / len(X)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2)
        W2 = W2 - 0.5 * A1.T @ dZ2
        b2 = b2 - 0.5 * dZ2.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * X.T @ dZ1
        b1 = b1 - 0.5 * dZ1.sum(axis=0, keepdims=True)
        print(step, loss)

Use instead (samples first)
---------------------------
One permutation for both::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 6))
    Y = np.eye(3)[(X @ rng.normal(size=(6, 3))).argmax(axis=1)]
    order = rng.permutation(len(X))
    X, Y = X[order], Y[order]
    W1, b1 = rng.normal(size=(6, 5)) / np.sqrt(6), np.zeros((1, 5))
    W2, b2 = rng.normal(size=(5, 3)) / np.sqrt(5), np.zeros((1, 3))
    for step in range(15):
        A1 = np.tanh(X @ W1 + b1)
        Z2 = A1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.mean(np.sum(Y * np.log(A2 + 1e-12), axis=1))
        dZ2 = (A2 - Y) / len(X)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2)
        W2 = W2 - 0.5 * A1.T @ dZ2
        b2 = b2 - 0.5 * dZ2.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * X.T @ dZ1
        b1 = b1 - 0.5 * dZ1.sum(axis=0, keepdims=True)
        print(step, loss)

How it is detected
------------------
If the program calls something that reorders, some samples are changed in the
array that the inputs come from, and the same ones where the labels come from.
In the first step the samples whose inputs have changed must be those whose
labels have. Otherwise the shuffle without whose order they would be is
blamed, or the last one before training. For doubled rows the rows before and
after are compared.

Fix safety
----------
random.shuffle of an array becomes np.random.shuffle. One order is drawn and
given to every array that the samples of the step are made from, is as long
and is read later on; if another array is as long, which may belong to the
samples or not, no edit is made. The changed program is examined again from
another seed, and the fix is called verified only if the finding is gone and
no error is new.

Known limits
------------
- Where a mean over all samples carries every change to all of them and the
  changed ones do not stand out, nothing is reported.
- Only the samples of the first step are followed.
- Labels that the program makes from the inputs are followed by their changes.

References
----------
- NumPy reference, Generator.permutation and Generator.shuffle:
  https://numpy.org/doc/stable/reference/random/generator.html
- The Python library, random.shuffle:
  https://docs.python.org/3/library/random.html#random.shuffle
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.dependence import disturbed
from backprop_doctor.oracles.pairing import Shuffle, follow, reaches, shuffles
from backprop_doctor.program import Event
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.source import Source

SEVERITY = "error"

ENOUGH = 12  # samples to follow before a call is cleared
PART = 0.1  # separated pairs show in a third of the samples followed


def examine(case: Case) -> Iterator[Sighting]:
    """Rows that a shuffle has doubled and lost, or samples that meet another sample's label."""
    calls = shuffles(case)
    if not calls:
        return
    doubled = _doubled(case, calls)
    if doubled is not None:
        yield doubled
        return
    pairing = follow(case)
    if pairing is None or pairing.apart <= PART * pairing.followed:
        return
    call = _culprit(case, calls)
    yield Sighting(
        node=call,
        message=f"{case.text(call)} separates inputs and labels: {pairing.apart} of {pairing.followed} samples "
        "followed meet the label of another one",
        label="one order for the inputs, another for the labels",
        why="input i belongs to label i: one permutation has to be applied to both",
        evidence=(
            Evidence("samples that arrive with another sample's label", f"{pairing.apart} of {pairing.followed}", "0"),
        ),
        fix="draw one permutation and index both arrays with it",
        edits=_one_order(case, call, calls) or _same_order(case, call, calls),
    )


def _one_order(case: Case, call: ast.Call, calls: list[Shuffle]) -> tuple[Edit, ...]:
    """One permutation before two statements that each draw one as an index."""
    home = case.source_of(call)
    names = {node.id for node in ast.walk(home.tree) if isinstance(node, ast.Name)}
    name = next((name for name in ("order", "permutation", "shuffled") if name not in names), "")
    for block in (getattr(node, "body", None) for node in ast.walk(home.tree)):
        statements = [s for s in block if isinstance(s, ast.Assign)] if isinstance(block, list) else []
        drawn = [(s, c.node) for s in statements for c in calls if c.event is not None and _is_index(s, c.node)]
        alone = len({s for s, _ in drawn}) == len(drawn) == 2
        if name and alone and call in (c for _, c in drawn):
            (first, one), (_, other) = drawn
            line = home.position(first).line
            whole = home.line(line)
            text = f"{whole[: len(whole) - len(whole.lstrip())]}{name} = {case.text(one)}\n"
            return case.insertion(line, 1, text, first), case.edit(one, name), case.edit(other, name)
    return ()


def _same_order(case: Case, call: ast.Call, calls: list[Shuffle]) -> tuple[Edit, ...]:
    """The order of one array, drawn once, for all that belongs to it; no edits where that is not clear."""
    home = case.source_of(call)
    names = {node.id for node in ast.walk(home.tree) if isinstance(node, ast.Name)}
    order = next((name for name in ("order", "permutation", "shuffled") if name not in names), "")
    statement = _around(home, call)
    event = next((e for e in case.trace.events if case.program.sites[e.site].statement is statement), None)
    if event is None or statement is None or not order or not _is_alone(home, statement):
        return ()
    shuffled = _shuffled(statement, call)
    if shuffled is None:
        return ()
    own, axis = shuffled
    before = next((e for e in case.trace.events[event.index :] if _reads(case, e, own)), None)
    others = {} if before is None or np.ndim(before.value) <= axis else _companions(case, statement, before, axis)
    if not others:
        return ()
    line = home.position(statement)
    indent = home.line(line.line)[: statement.col_offset]
    ending = "\r\n" if home.whole_line(line.line).endswith("\r\n") else "\n"
    again = f"{', '.join(others)} = {', '.join(_taken(text, order, across) for text, across in others.items())}"
    if isinstance(statement, ast.Assign):
        drawn = f"{indent}{order} = {case.text(call)}{ending}"
        return (
            case.insertion(line.line, 1, drawn, statement),
            case.edit(call, order),
            case.insertion(line.end_line + 1, 1, f"{indent}{again}{ending}", statement),
        )
    name = case.text(own)
    assert isinstance(call.func, ast.Attribute)
    drawn = f"{order} = {case.text(call.func.value)}.permutation(len({name}))"
    left, right = again.split(" = ", 1)
    both = f"{name}, {left} = {_taken(name, order, 0)}, {right}"
    for other in calls:
        # The labels have an order of their own.
        second = _around(home, other.node)
        apart = second is not None and second is not statement and isinstance(second, ast.Expr)
        if (
            apart
            and second is not None
            and _is_alone(home, second)
            and [case.text(a) for a in other.node.args] == [left]
        ):
            one, two = sorted((statement, second), key=lambda s: s.lineno)
            return case.edit(one, drawn), case.edit(two, both)
    return case.edit(statement, drawn), case.insertion(line.end_line + 1, 1, f"{indent}{both}{ending}", statement)


def _around(home: Source, call: ast.Call) -> ast.Assign | ast.Expr | None:
    """The statement that a call stands in."""
    statements = (s for s in ast.walk(home.tree) if isinstance(s, (ast.Assign, ast.Expr)))
    return next((s for s in statements if call in ast.walk(s)), None)


def _is_alone(home: Source, statement: ast.stmt) -> bool:
    at = home.position(statement)
    after = home.line(at.end_line)[at.end_column - 1 :].strip()
    is_ended = home.whole_line(at.end_line).endswith(("\n", "\r"))
    return is_ended and home.line(at.line)[: at.column - 1].strip() == "" and after[:1] in ("", "#")


def _shuffled(statement: ast.Assign | ast.Expr, call: ast.Call) -> tuple[ast.expr, int] | None:
    """What a statement brings into another order, and along which axis: ``x = x[call]``, or ``shuffle(x)``."""
    if isinstance(statement, ast.Expr):
        in_place = statement.value is call and isinstance(call.func, ast.Attribute) and call.func.attr == "shuffle"
        own = isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) != "random"
        return (call.args[0], 0) if in_place and own and len(call.args) == 1 and not call.keywords else None
    value = statement.value
    if len(statement.targets) != 1 or not isinstance(value, ast.Subscript):
        return None
    if ast.unparse(value.value) != ast.unparse(statement.targets[0]):
        return None
    parts = value.slice.elts if isinstance(value.slice, ast.Tuple) else [value.slice]
    whole = all(p is call or (isinstance(p, ast.Slice) and not (p.lower or p.upper or p.step)) for p in parts)
    return (value.value, parts.index(call)) if whole and call in parts else None


def _reads(case: Case, event: Event, node: ast.AST) -> bool:
    site = case.program.sites[event.site]
    return event.object != -1 and site.kind == "load" and site.node is node


def _companions(case: Case, statement: ast.stmt, shuffled: Event, axis: int) -> dict[str, int]:
    """Names of the arrays with one entry for each of these samples that are read later on, with the axis of those.

    They are what the inputs and the labels of the first step are made from.  None if there is another array as
    long: it may belong to the samples, or be of that length by chance.
    """
    roles, sites = case.roles, case.program.sites
    scope, samples = sites[shuffled.site].scope, np.shape(shuffled.value)[axis]
    latest: dict[str, Event] = {}
    for event in case.trace.events[: roles.step.middle]:
        site, first = sites[event.site], case.trace.first_seen.get(event.object, event)
        if event.object == -1 or site.scope != scope or samples not in np.shape(event.value):
            continue
        texts = {site.target or "", case.text(site.node) if site.kind == "load" else ""}
        for text in texts:
            # An argument is first read where it is used, which may be further down.
            is_there = event.index < shuffled.index or (text not in latest and first.index < shuffled.index)
            if is_there and text.replace(".", "").isidentifier():
                latest[text] = event if event.index < shuffled.index else first
    parameters = {p.object for p in roles.parameters}
    found: dict[str, int] = {}
    for text, event in latest.items():
        if event.storage == shuffled.storage or event.object in parameters or not _is_read_later(case, statement, text):
            continue
        if not reaches(case, {event.key: disturbed}):
            return {}
        found[text] = np.shape(event.value).index(samples)
    return found


def _is_read_later(case: Case, statement: ast.stmt, text: str) -> bool:
    """Whether a name is read below a statement, or in a loop around it."""
    tree = case.source_of(statement).tree
    around = [n for n in ast.walk(tree) if isinstance(n, (ast.For, ast.While)) and statement in ast.walk(n)]
    own = set(ast.walk(statement))
    return any(
        isinstance(node, (ast.Name, ast.Attribute))
        and isinstance(node.ctx, ast.Load)
        and node not in own
        and (node.lineno > statement.lineno or any(node in ast.walk(loop) for loop in around))
        and case.text(node) == text
        for node in ast.walk(tree)
    )


def _taken(text: str, order: str, axis: int) -> str:
    return f"{text}[{':, ' * axis}{order}]"


def _is_index(statement: ast.Assign, call: ast.Call) -> bool:
    """Whether a statement reads an array in the order that a call draws."""
    value = statement.value
    return isinstance(value, ast.Subscript) and call in ast.walk(value.slice)


def _culprit(case: Case, calls: list[Shuffle]) -> ast.Call:
    """The call without whose order the pairs stay together; else the last one before training."""
    for call in reversed(calls):
        if call.event is None:
            continue
        pairing = follow(case, {call.event.key: lambda value: np.arange(len(value))})
        if pairing is not None and pairing.followed >= ENOUGH and pairing.apart == 0:
            return call.node
    before = [call for call in calls if not call.in_training]
    return (before or calls)[-1].node


def _doubled(case: Case, calls: list[Shuffle]) -> Sighting | None:
    """An array whose rows, after a shuffle, are rows it had before, some twice and some no more."""
    first: dict[int, Event] = {}
    for event in case.trace.events[: case.roles.step.middle]:
        if event.object == -1 or np.ndim(event.value) < 2 or case.program.sites[event.site].kind != "load":
            continue
        before = first.setdefault(event.storage, event)
        if before.object == event.object or np.shape(before.value) != np.shape(event.value):
            continue
        old, new = _hashed(before.value), _hashed(event.value)
        lost = len(set(old)) - len(set(new))
        if lost <= 0 or not set(new) < set(old) or len(set(old)) < len(old) // 2:
            continue
        name = case.text(case.program.sites[before.site].node)
        call = next((c.node for c in calls if any(case.text(a) == name for a in c.node.args)), calls[-1].node)
        return Sighting(
            node=call,
            message=f"{case.text(call)} doubles rows of {name} and loses others: {lost} of {len(set(old))} are gone",
            label="loses rows",
            why="random.shuffle exchanges x[i] and x[j]; rows of an array are views, so that both become the same row",
            evidence=(
                Evidence(f"different rows of {name} before and after", f"{len(set(old))}, {len(set(new))}", "equal"),
            ),
            fix="np.random.shuffle, or a permutation of indices",
            edits=_edits(case, call),
        )
    return None


def _hashed(value: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in np.ascontiguousarray(value)]


def _edits(case: Case, call: ast.Call) -> tuple[Edit, ...]:
    """The shuffle of numpy in place of the one for lists, where numpy goes by its usual name."""
    imported = any(
        isinstance(n, ast.Import) and any(a.name == "numpy" and a.asname == "np" for a in n.names)
        for n in ast.walk(case.source.tree)
    )
    return (case.edit(call.func, "np.random.shuffle"),) if imported and case.text(call.func) == "random.shuffle" else ()
