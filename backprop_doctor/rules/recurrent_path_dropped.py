"""BD315 recurrent-path-dropped: a gradient leaves out what comes back from the next step in time.

What it does
------------
Finds a value of the backward pass that is the gradient of a state, or of a
weight, as far as it goes, and leaves out another way in which that reaches
the outputs: the next step in time, a connection around a layer, or a second
layer that shares the weight.

Why it is wrong
---------------
A state h[t] makes the output y[t] and, through the recurrent weights, the
next state h[t+1].  Its gradient is the sum over both: dh[t] (H, 1) =
Why.T @ dy[t] + Whh.T @ dz[t+1].  Without the second term the network
learns only what the present step can tell, and nothing through time.

Example
-------
The present step alone::

    import numpy as np

    rng = np.random.default_rng(3)
    Wxh, Why = rng.normal(size=(5, 3)), rng.normal(size=(2, 5))
    Whh = rng.normal(size=(5, 5)) * 0.3
    xs = rng.normal(size=(6, 3, 1))
    ts = rng.normal(size=(6, 2, 1))
    for step in range(20):
        hs, ys, loss = {-1: np.zeros((5, 1))}, {}, 0.0
        for t in range(6):
            hs[t] = np.tanh(Wxh @ xs[t] + Whh @ hs[t - 1])
            ys[t] = Why @ hs[t]
            loss += 0.5 * np.sum((ys[t] - ts[t]) ** 2)
        dWxh, dWhh = np.zeros_like(Wxh), np.zeros_like(Whh)
        dWhy = np.zeros_like(Why)
        for t in reversed(range(6)):
            dy = ys[t] - ts[t]
            dWhy += dy @ hs[t].T
            dh = Why.T @ dy
            dz = (1 - hs[t] ** 2) * dh
            dWxh += dz @ xs[t].T
            dWhh += dz @ hs[t - 1].T
        Wxh, Whh = Wxh - 0.01 * dWxh, Whh - 0.01 * dWhh
        Why = Why - 0.01 * dWhy
        print(step, loss)

Use instead
-----------
The present step and the next one::

    import numpy as np

    rng = np.random.default_rng(3)
    Wxh, Why = rng.normal(size=(5, 3)), rng.normal(size=(2, 5))
    Whh = rng.normal(size=(5, 5)) * 0.3
    xs = rng.normal(size=(6, 3, 1))
    ts = rng.normal(size=(6, 2, 1))
    for step in range(20):
        hs, ys, loss = {-1: np.zeros((5, 1))}, {}, 0.0
        for t in range(6):
            hs[t] = np.tanh(Wxh @ xs[t] + Whh @ hs[t - 1])
            ys[t] = Why @ hs[t]
            loss += 0.5 * np.sum((ys[t] - ts[t]) ** 2)
        dWxh, dWhh = np.zeros_like(Wxh), np.zeros_like(Whh)
        dWhy = np.zeros_like(Why)
        dnext = np.zeros((5, 1))
        for t in reversed(range(6)):
            dy = ys[t] - ts[t]
            dWhy += dy @ hs[t].T
            dh = Why.T @ dy + dnext
            dz = (1 - hs[t] ** 2) * dh
            dWxh += dz @ xs[t].T
            dWhh += dz @ hs[t - 1].T
            dnext = Whh.T @ dz
        Wxh, Whh = Wxh - 0.01 * dWxh, Whh - 0.01 * dWhh
        Why = Why - 0.01 * dWhy
        print(step, loss)

How it is detected
------------------
The gradient of a parameter that is read several times is not the
derivative of the loss, although each of its parts is right for the
reading it belongs to, given the program's own delta.  A delta is then
blamed if it is right for one later value, and the outputs still move when
that value is held and the state is moved.

Fix safety
----------
An array that is there before the line is reached first and is made anew in
each turn is added, if the run shows that all steps are along the slope of the
loss then. A term that is not computed yet is for the author to write.

Known limits
------------
- Found on the way from a parameter that is read more than once.
- A truncated sum over time that is meant (a fixed number of steps back)
  is not told apart from one that is forgotten.

References
----------
- Werbos (1990), Backpropagation through time: what it does and how to do
  it, Proceedings of the IEEE 78, 1550-1560.
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press,
  section 10.2.2: computing the gradient in a recurrent neural network.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.case import Case, Sighting
from backprop_doctor.gradients import fit
from backprop_doctor.program import Event, Key
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.roles import Parameter, Quantity

SEVERITY = "error"
TRIALS = 12
PATH = "the gradient that comes from the later use, added"


def examine(case: Case) -> Iterator[Sighting]:
    """Values that are right for one later value only, on the way to a gradient that is not right as a whole."""
    # Activations that the forward pass makes and does not use are the fault, not the path that they would open.
    if "BD105" in case.errors:
        return
    for claim in [*case.wrong_adjoints, *(gradient for _, gradient in case.wrong_gradients)]:
        if not claim.partial or claim.upstream is None or claim.through is None:
            continue
        b, of, through = claim.value, claim.of, claim.through
        node = case.place(claim)
        text, edits = _added(case, b) if node is case.home(b) else (PATH, ())
        yield Sighting(
            node=node,
            message=f"{b.name} is the gradient of {of.name} by way of {through.name} alone; {of.name} reaches the "
            "outputs another way too",
            label="leaves a path out",
            why=f"the gradient of {of.name} is the sum over all that is made from it, the next step in time included",
            evidence=(
                Evidence(f"{b.name} by way of {through.name}", f"error {claim.fit.residual:.1e}", "below 1e-5"),
                Evidence(f"outputs when {of.name} is moved and {through.name} is held", "move", "stay"),
            ),
            fix=text,
            edits=edits,
            objects=(b.object,),
        )


def _added(case: Case, value: Quantity) -> tuple[str, tuple[Edit, ...]]:
    """What comes back from the later use, where it is computed already and only has to be added in the line."""
    statement, sites = case.statement(value), case.program.sites
    made = [e for e in case.events_in(statement) if e.index <= value.index and sites[e.site].kind != "load"]
    places = {e.site: e for e in reversed(made) if np.shape(e.value) == value.shape}
    trials = product(sorted(places.values(), key=lambda e: -e.index), _coming_back(case, statement, value))
    for place, name in islice(trials, TRIALS):
        if _are_right(case, _with(case, place, name)):
            node = sites[place.site].node
            own, home, at = case.text(node), case.source_of(node), case.source.position(node)
            before, after = home.line(at.line)[: at.column - 1], home.line(at.end_line)[at.end_column - 1 :]
            is_whole = node is getattr(statement, "value", None) or (before[-1:] == "(" and after[:1] == ")")
            text = f"{own} + {name}"
            return f"+ {name}", (case.edit(node, text if is_whole else f"({text})"),)
    return PATH, ()


def _coming_back(case: Case, statement: ast.stmt, value: Quantity) -> list[str]:
    """Names of arrays that are there before the line is reached first, and made anew in each of its turns."""
    sites, read = case.program.sites, {case.text(n) for n in ast.walk(statement) if isinstance(n, ast.expr)}
    bound: dict[str, list[Event]] = {}
    turns = [e.index for e in case.step_events if e.site == value.birth[0]]
    for event in case.step_events:
        site = sites[event.site]
        if site.scope == sites[value.birth[0]].scope and np.shape(event.value) == value.shape and site.target:
            bound.setdefault(site.target, []).append(event)
    own = {case.text(target) for target in getattr(statement, "targets", [])}
    return [
        name
        for name, events in bound.items()
        if name.replace(".", "").isidentifier()
        and (name in own or name not in read)
        and events[0].index < turns[0]
        and any(turns[0] <= e.index and case.roles.backward(e) for e in events)
    ]


def _with(case: Case, place: Event, name: str) -> dict[Key, Callable[[Any], Any]]:
    """Actions that add what goes by a name to what is made at one place, each time it is made."""
    sites, scope = case.program.sites, case.program.sites[place.site].scope
    latest: list[Any] = [0.0]

    def kept(value: Any) -> Any:
        latest[0] = np.array(value, np.float64)
        return value

    def summed(value: Any) -> Any:
        return value + latest[0]

    def both(value: Any) -> Any:
        return kept(summed(value))

    actions: dict[Key, Callable[[Any], Any]] = {}
    for event in case.step_events:
        is_place, is_bound = event.site == place.site, sites[event.site].target == name
        if is_place or (is_bound and sites[event.site].scope == scope):
            actions[event.key] = both if is_place and is_bound else summed if is_place else kept
    return actions


def _are_right(case: Case, actions: dict[Key, Callable[[Any], Any]]) -> bool:
    """Whether all steps are along the slope of a loss of the program when some values are changed."""
    parameters = [p for p in case.roles.parameters if np.prod(p.shape) > 1]
    keys = [key for p in parameters for key in (p.birth, p.updates[-1])]
    last = max(case.trace.by_key[key].index for key in keys)
    trace = case.measurement.moved(frozen=False).run(actions, keep=frozenset(keys), last=last)
    steps = []
    for parameter in parameters:
        before, after = trace.value(parameter.birth), trace.value(parameter.updates[-1])
        if after is None or np.shape(after) != np.shape(before):
            return False
        steps.append(np.asarray(after, np.float64) - before)
    return any(all(map(partial(_is_along, case, loss), parameters, steps)) for loss in case.judgement.losses)


def _is_along(case: Case, loss: Quantity, parameter: Parameter, step: NDArray[np.float64]) -> bool:
    tangents = case.measurement.tangents(parameter.birth)
    numeric = [float(np.sum(t.derivatives.get(loss.birth, np.nan))) for t in tangents]
    ours = [float(np.sum(step * t.direction)) for t in tangents]
    return bool(np.all(np.isfinite(numeric))) and fit(np.array(ours), np.array(numeric)).right
