"""BD311 batch-averaging-missing-or-twice: the gradients of one network carry different factors.

What it does
------------
Finds gradients of one network that carry different constant factors: a
division by the number of samples that is missing for one parameter, or done
twice on the way to another.

Why it is wrong
---------------
One loss has one gradient, made of the parts for all parameters. A constant in
front of all parts is a choice of the learning rate; a constant in front of
one part is a wrong direction. With N samples, the mean loss, and dZ2 that
already holds the 1/N,

    dZ1 = (dZ2 @ W2.T) * act'(Z1)    (N, H), holds the same 1/N
    dW1 = X.T @ dZ1                  (D, H), and nothing is left to divide

A second division in dZ1 makes dW1 and db1 smaller by 1/N, and the first layer
nearly stands still: with 200 samples it learns 200 times more slowly than the
second. The loss still falls, because the second layer learns.

Example (samples first)
-----------------------
dZ2 is divided by the number of samples, and dZ1 once more::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W1, b1 = 0.3 * rng.normal(size=(20, 16)), np.zeros((1, 16))
    W2, b2 = 0.3 * rng.normal(size=(16, 3)), np.zeros((1, 3))
    for step in range(12):
        Z1 = X @ W1 + b1
        A1 = np.tanh(Z1)
        Z2 = A1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / len(X)
        dZ2 = (A2 - Y) / len(X)
        dW2 = A1.T @ dZ2
        db2 = dZ2.sum(axis=0, keepdims=True)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2) / len(X)
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

Use instead (samples first)
---------------------------
Divide once. Everything that follows from dZ2 has the factor already::

    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20))
    labels = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    Y = np.eye(3)[labels]
    W1, b1 = 0.3 * rng.normal(size=(20, 16)), np.zeros((1, 16))
    W2, b2 = 0.3 * rng.normal(size=(16, 3)), np.zeros((1, 3))
    for step in range(12):
        Z1 = X @ W1 + b1
        A1 = np.tanh(Z1)
        Z2 = A1 @ W2 + b2
        E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
        A2 = E / E.sum(axis=1, keepdims=True)
        loss = -np.sum(Y * np.log(A2 + 1e-12)) / len(X)
        dZ2 = (A2 - Y) / len(X)
        dW2 = A1.T @ dZ2
        db2 = dZ2.sum(axis=0, keepdims=True)
        dZ1 = (dZ2 @ W2.T) * (1 - A1**2)
        dW1 = X.T @ dZ1
        db1 = dZ1.sum(axis=0, keepdims=True)
        W1 = W1 - 0.5 * dW1
        b1 = b1 - 0.5 * db1
        W2 = W2 - 0.5 * dW2
        b2 = b2 - 0.5 * db2
        print(step, loss)

How it is detected
------------------
The gradients are compared with the numeric derivative of one loss: the first
that most of them are multiples of, among those the program computes and the
usual ones. If all have one factor, there is no fault. If no loss tells, the
factors along the chain of deltas that each was computed from are multiplied.
A bias gradient that is not summed over the samples bears witness with the
factor it would have if it were, and is not blamed for it.
The factor with which the fewest lines are odd counts as meant; with a tie it
is 1 over a loss that the program computes, that of a mean or a sum over
another, or else that of most gradients. A gradient that is off by more than
1e-4 counts only if that ratio is made of lengths of the data and numbers of
the program, and is the same at another point. It is followed back to the
first line that brings in a factor of its own and on which no healthy gradient
rests; that line is blamed, or the one from which two such lines have it.

Fix safety
----------
A factor that stands in the line as a part of its own is taken out, and what
other lines of the function divide by divides the value if that is what it
lacks. Otherwise the factor is shown as a formula (N, 1/N, 2); whether it goes
here or into the lines that lack it is for the author to say.

Known limits
------------
- At least two gradients must be right up to a factor and traced to the loss.
- With two parameters there is no majority, and the wrong one of the two lines
  may be blamed.
- Where a gradient is written into the update itself, the learning rate is
  part of its factor; different rates for different parameters then look like
  different factors.
- One factor common to all gradients is no fault (BD201).
- Factors are sought among 1, 2, 1/2 and -1, times or over at most two lengths
  or numbers that the first step reads.

References
----------
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  8.1.3: the gradient of the mean as an average over a minibatch.
- Bishop (2006), Pattern Recognition and Machine Learning, Springer, section
  5.3.1: the gradient of a sum over samples is the sum of their gradients.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.adjoints import CATALOGUE, Adjoint
from backprop_doctor.case import Case, Sighting, always
from backprop_doctor.gradients import RIGHT_BELOW, Fit, Measurement, Tangent, aligned, fit
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.roles import Parameter, Quantity
from backprop_doctor.rules._bias import bias_gradients

SEVERITY = "error"
Array = NDArray[np.float64]
Slope = Callable[[Measurement, Tangent], float]

SAME_WITHIN = 1e-4
EXPLAINED_WITHIN = 1e-5
OTHER_SCALE = 1.6
FEW = 8
NUMBERS = 40  # more numbers than these explain any ratio


@dataclass(frozen=True)
class _Total:
    """A parameter's gradient, and its factor over the derivative of the loss common to all.

    One that ``is_meant`` is what a wrong gradient would be if it were summed over the samples: it is no more than a
    witness of the factor that the others should have.
    """

    parameter: Parameter
    gradient: Adjoint
    factor: float
    is_meant: bool = False


def examine(case: Case) -> Iterator[Sighting]:
    """Each gradient over the derivative of the same summed loss: the ratio has to be the same for all."""
    totals, inline = _totals(case)
    # Steps cannot be taken for one another, as values can that are read on the way to them.
    if len(totals) < 2 or (not inline and case.once(_is_shared)):
        return
    usual = _usual(case, totals, plain=_plain(case, totals, inline=inline))
    healthy = [t.gradient for t in totals if abs(t.factor / usual - 1) <= SAME_WITHIN]
    found: list[tuple[Adjoint, float, _Total]] = []
    for total in totals:
        ratio = total.factor / usual
        if total.is_meant or abs(ratio - 1) <= SAME_WITHIN or not _is_explained(case, ratio, rates=not inline):
            continue
        if _alike(ratio, -1.0) and _goes_along(case, total, [t for t in totals if t.gradient in healthy]):
            continue
        link = _culprit(case, total.gradient, healthy)
        if _holds(case, link):
            found.append((link, ratio, total))
    blamed: set[int] = set()
    for link, ratio, total in found:
        place = _source(link, ratio, found, healthy, case)
        if place.object in blamed:
            continue
        blamed.add(place.object)
        fix, edits = _without(case, place, ratio)
        yield Sighting(
            node=case.home(place),
            message=f"{place.name} carries a factor of {case.factor(ratio)} that the other gradients do not have",
            label=f"extra factor {case.factor(ratio)}",
            why="one loss has one gradient: its parts may share a constant factor, not have one each",
            evidence=(
                Evidence(
                    f"gradient of {total.parameter.name} over the derivative of the summed loss",
                    case.factor(total.factor),
                    case.factor(usual),
                ),
            ),
            fix=fix,
            edits=edits,
            objects=(place.object,),
        )


def _goes_along(case: Case, total: _Total, others: list[_Total]) -> bool:
    """Whether a gradient of the other sign makes a step of the same as others do: a threshold is subtracted, say.

    The sign is turned between the value that stands for the gradient and the update.
    """
    own = _step_factor(case, total)
    steps = [step for other in others if (step := _step_factor(case, other)) is not None]
    return own is not None and any(step * own > 0 for step in steps)


# -- one loss for all ----------------------------------------------------------------------------------


def _is_shared(case: Case) -> bool:
    """Whether all gradients are one multiple of the derivative of some loss, whichever value stands for each.

    A value of few elements is a multiple of many others, so all that the update reads may be the gradient.
    """
    parameters = case.roles.parameters
    for _, slope in _losses(case):
        common: list[float] | None = None
        for parameter in parameters:
            found = [f.factor for q in _stand_ins(case, parameter) if (f := _fit(case, parameter, q, slope)).right]
            common = found if common is None else [c for c in common if any(_alike(c, f) for f in found)]
            if not common:
                break
        if common:
            return True
    return False


def _stand_ins(case: Case, parameter: Parameter) -> list[Quantity]:
    gradient = case.gradient(parameter)
    if gradient is not None and np.prod(parameter.shape) >= FEW:
        # Half of a gradient that is twice too large, as a step is, would pass for the gradient itself.
        return [gradient.value]
    found = [*([gradient.value] if gradient else []), *case.judgement.operands.get(parameter.object, [])]
    return list({q.object: q for q in found}.values())


def _losses(case: Case) -> list[tuple[str, Slope]]:
    """Derivatives of losses along a direction, with their names: the program's own, then the usual ones."""

    def declared(loss: Quantity) -> Slope:
        return lambda m, t: float(np.sum(t.derivatives.get(loss.birth, np.nan)))

    def implied(name: str) -> Slope:
        def along(measurement: Measurement, tangent: Tangent) -> float:
            output, target = case.roles.meetings[0].output, case.judgement.target
            at = CATALOGUE[name](np.asarray(measurement.value(output.birth), np.float64), target)
            moved = np.asarray(tangent.derivatives.get(output.birth, np.nan), np.float64)
            return float("nan") if at is None or moved.shape != at.shape else float(np.sum(at * moved))

        return along

    known = [(loss.name, declared(loss)) for loss in case.judgement.losses]
    if len(case.roles.meetings) == 1:
        known += [(name, implied(name)) for name in CATALOGUE]
    return known


def _fit(case: Case, parameter: Parameter, value: Quantity, slope: Slope) -> Fit:
    """How well a value is a multiple of the derivative of a loss."""
    array = None if value.object < -1 else aligned(case.measurement.value(value.birth), parameter.shape)
    return Fit(0.0, np.inf) if array is None else _fit_of(case, parameter, array, slope)


def _fit_of(case: Case, parameter: Parameter, array: Array, slope: Slope) -> Fit:
    tangents = case.measurement.tangents(parameter.birth)
    numeric = np.array([slope(case.measurement, t) for t in tangents])
    return fit(np.array([float(np.sum(array * t.direction)) for t in tangents]), numeric)


def _meant(case: Case) -> list[tuple[Parameter, Adjoint, Array]]:
    """Bias gradients that are not summed over the samples, and what their lines would come to if they were."""
    samples, found = case.axes.output_samples, []
    for bias in bias_gradients(case) if samples is not None else ():
        p, g, upstream = bias.parameter, bias.gradient, np.asarray(case.value(bias.upstream), np.float64)
        if g.object not in case.binding or upstream.ndim != 2:
            continue
        summed = upstream.sum(axis=samples, keepdims=True)
        whole = summed if bias.reduction is None else case.changed({bias.reduction.event.key: always(summed)}, g.birth)
        array = None if whole is None else aligned(whole, p.shape)
        if array is not None and (bias.reduction is not None or bias.upstream.object == g.object):
            found.append((p, Adjoint(g, p, Fit(1.0, 0.0), "adjoint", bias.upstream), array))
    return found


def _on_one_error(case: Case, right: list[tuple[Parameter, Adjoint]]) -> list[_Total]:
    """Gradients over the error that all of them rest on, where that is output less target and no loss explains it."""
    chains = [(p, g, case.chain(g)) for p, g in right]
    roots = {(chain[-1].value.object, chain[-1].given) for _, _, chain in chains}
    if len(roots) != 1 or {given for _, given in roots} != {"canonical"}:
        return []
    whole = [(p, g, chain) for p, g, chain in chains if all(link.right for link in chain)]
    return [_Total(p, g, float(np.prod([link.fit.factor for link in chain]))) for p, g, chain in whole]


def _totals(case: Case) -> tuple[list[_Total], bool]:
    """Gradients with their factors over one loss: one most of them are multiples of, or that of their chains.

    Where a gradient is written into an update, its factors may stand anywhere in the step: then the steps
    stand for the gradients, and the answer comes with True.
    """
    pairs = [pair for p in case.roles.parameters for pair in _in_pieces(case, p)]
    right = [(p, g) for p, g in pairs if g is not None and g.right]
    meant = case.once(_meant) if right and len(right) < len(pairs) else []
    best, name = list[_Total](), ""
    for loss, slope in _losses(case):
        fitted = [_Total(p, g, f.factor) for p, g in right if (f := _fit(case, p, g.value, slope)).right]
        if fitted:
            fits = ((p, g, _fit_of(case, p, array, slope)) for p, g, array in meant)
            fitted += [_Total(p, g, f.factor, is_meant=True) for p, g, f in fits if f.right]
        if len(fitted) > len(best):
            best, name = fitted, loss
    if not best:
        best = _on_one_error(case, right)
    known = {t.parameter.object for t in best} if len(best) > 1 else set()
    # A gradient with a factor of its own beside weight decay is no multiple of the whole: its chain leads there.
    rest = [(p, g) for p, g in right if p.object not in known and (not known or case.chain(g)[-1].loss == name)]
    best = [t for t in best if known] + [
        _Total(p, g, total) for p, g in rest if (total := _chained(case, g)) is not None
    ]
    inline = {t.parameter.object for t in best if t.gradient.value.object not in case.binding}
    steps = [(t, _step_factor(case, t)) for t in best] if inline else []
    if steps and all(factor is not None for _, factor in steps):
        return [replace(t, factor=factor) for t, factor in steps if factor is not None], True
    return [t for t in best if t.parameter.object not in inline or not _is_in_update(case, t)], False


def _in_pieces(case: Case, parameter: Parameter) -> list[tuple[Parameter, Adjoint | None]]:
    """A parameter with its gradient, or piece by piece what both are put together from."""
    pieces = case.judgement.pieces.get(parameter.object, [])
    if not pieces:
        return [(parameter, case.gradient(parameter))]
    ofs = (claim.of for claim in pieces)
    return [
        (Parameter(q.object, q.birth, q.index, q.name, q.line, q.shape, parameter.updates, parameter.successor), claim)
        for q, claim in zip(ofs, pieces, strict=True)
    ]


def _is_in_update(case: Case, total: _Total) -> bool:
    """Whether a gradient is computed in the statement that makes the step of it."""
    updates = [case.site(key).statement for key in total.parameter.updates]
    return case.statement(total.gradient.value) in updates


def _chained(case: Case, gradient: Adjoint) -> float | None:
    """The product of the factors along a chain that ends at a loss, and not at output less target."""
    return None if case.chain(gradient)[-1].given == "canonical" else case.total_factor(gradient)


def _step_factor(case: Case, total: _Total) -> float | None:
    """Step over derivative of the summed loss; None where the step is not proportional to the gradient."""
    parameter = total.parameter
    before, after = case.live.value(parameter.birth), case.live.value(parameter.updates[-1])
    value = aligned(case.live.value(total.gradient.value.birth), parameter.shape)
    if after is None or value is None or np.shape(before) != np.shape(after):
        return None
    ratio = fit((np.asarray(after) - before).ravel(), value.ravel())
    return total.factor * ratio.factor if ratio.residual < RIGHT_BELOW / 10 else None


def _usual(case: Case, totals: list[_Total], *, plain: tuple[float, ...]) -> float:
    """The factor with which the fewest places are odd; with a tie a plain one, the commonest, the last."""
    rounded = [float(f"{t.factor:.6g}") for t in totals]
    counts = Counter(rounded)

    def rank(number: int) -> tuple[int, bool, int, int]:
        usual = totals[number].factor
        healthy = [t.gradient for t in totals if _alike(t.factor, usual)]
        odd = [t for t in totals if not _alike(t.factor, usual)]
        places = {_culprit(case, t.gradient, healthy).value.object for t in odd}
        is_plain = any(_alike(abs(usual), p) for p in plain)
        return len(places), not is_plain, -counts[rounded[number]], -number

    return totals[min(range(len(totals)), key=rank)].factor


def _plain(case: Case, totals: list[_Total], *, inline: bool) -> tuple[float, ...]:
    """Factors that a gradient has as a rule: 1 over the program's own loss, a mean or a sum over a usual one."""
    if inline:
        # A step is the gradient of the program's own loss times a rate.
        return case.once(_rates) if case.judgement.declared_fits else ()
    given = {case.chain(t.gradient)[-1].given for t in totals if not t.is_meant}
    if given == {"declared"}:
        return (1.0,)
    if given == {"canonical"}:
        return (1.0, 1.0 / case.samples)
    return tuple(number / n for number in (1.0, 2.0, 0.5) for n in (1, case.samples))


def _rates(case: Case) -> tuple[float, ...]:
    """Real numbers that the updates read by a name, and in which the data have no part."""
    roles = case.roles
    updates = {id(case.site(key).statement) for p in roles.parameters for key in p.updates}
    found = set()
    for event in case.step_events:
        site, i = case.program.sites[event.site], event.index
        named = site.kind == "load" and isinstance(site.node, (ast.Name, ast.Attribute)) and type(event.value) is float
        if named and id(site.statement) in updates and not (roles.on_parameters[i] or roles.on_inputs[i]):
            found.add(float(event.value))
    return tuple(sorted(found))


# -- what a factor may be --------------------------------------------------------------------------------


def _alike(a: float, b: float, within: float = SAME_WITHIN) -> bool:
    return abs(a / b - 1) <= within


def _is_explained(case: Case, ratio: float, *, rates: bool) -> bool:
    """Whether a ratio is made of lengths of the data and, with ``rates``, of numbers that stand in the program.

    Without them only powers of the number of samples count: parameters may have a learning rate each.
    """
    if not rates:
        samples = float(case.samples)
        return samples > 1 and any(_alike(abs(ratio), samples**k) for k in (-2, -1, 1, 2))
    numbers = case.once(_numbers)[:NUMBERS]
    for a, b, plain in product([1.0, *numbers], [1.0, *numbers], (1.0, 2.0, 0.5)):
        if any(_alike(abs(ratio), plain * made, EXPLAINED_WITHIN) for made in (a * b, a / b, 1 / (a * b))):
            return True
    return False


def _numbers(case: Case) -> tuple[float, ...]:
    """Lengths of the data and of the layers, then plain numbers that pass in the first step without hanging on it."""
    roles = case.roles
    shapes = [roles.batch.shape, *(m.output.shape for m in roles.meetings), *(p.shape for p in roles.parameters)]
    lengths = {float(n) for shape in shapes for n in shape}
    found = set(lengths)
    statements = {id(case.site(e.key).statement): case.site(e.key).statement for e in case.step_events}
    for statement in statements.values():
        constants = [n.value for n in ast.walk(statement) if isinstance(n, ast.Constant)]
        found |= {float(c) for c in constants if isinstance(c, (int, float)) and not isinstance(c, bool)}
    passed: dict[int, set[float]] = {}
    for event in case.step_events:
        i = event.index
        free = not (roles.on_parameters[i] or roles.on_inputs[i] or roles.on_labels[i])
        if free and isinstance(event.value, (int, float)) and not isinstance(event.value, bool):
            passed.setdefault(event.site, set()).add(float(event.value))
    # What changes within a step is a counter.
    found |= {n for several in passed.values() if len(several) == 1 for n in several}
    known = {abs(n) for n in found if n and abs(n) != 1.0 and np.isfinite(n)}
    return tuple(sorted(known, key=lambda n: (n not in lengths, n)))


def _holds(case: Case, link: Adjoint) -> bool:
    """Whether a claim has the same factor at another point; where nothing can be said there, it may."""
    if link.upstream is None or link.through is None:
        return True
    other = case.once(_elsewhere)
    tangents = other.tangents(link.of.birth)
    value, upstream = aligned(other.value(link.value.birth), link.of.shape), other.value(link.upstream.birth)
    moved: list[Array] = [t.derivatives.get(link.through.birth, np.zeros(0)) for t in tangents]
    if value is None or upstream is None or any(np.size(d) != np.size(upstream) for d in moved):
        return True
    analytic = np.array([float(np.sum(value * t.direction)) for t in tangents])
    numeric = np.array([float(np.sum(np.ravel(upstream) * np.ravel(d))) for d in moved])
    found = fit(analytic, numeric)
    return not analytic.any() or _alike(found.factor, link.fit.factor, 0.01)


def _elsewhere(case: Case) -> Measurement:
    return case.measurement.moved(scale=OTHER_SCALE)


def _without(case: Case, place: Quantity, ratio: float) -> tuple[str, tuple[Edit, ...]]:
    """Take the factor out where it is a part of its own of the product, or the line that makes it is a quotient."""
    for node in ast.walk(case.statement(place)):
        if not isinstance(node, ast.BinOp) or not isinstance(node.op, (ast.Mult, ast.Div)):
            continue
        sides = [(node.right, node.left)] + ([(node.left, node.right)] if isinstance(node.op, ast.Mult) else [])
        for factor, rest in sides:
            number = case.number(factor)
            number = 1 / number if number and isinstance(node.op, ast.Div) else number
            if number and abs(number / ratio - 1) < SAME_WITHIN:
                return f"without {case.text(factor)}", (case.edit(node, case.text(rest)),)
        above = node.left if isinstance(node.op, ast.Div) else None
        if isinstance(above, ast.Constant) and abs(float(case.number(above) or 0) / ratio - 1) < SAME_WITHIN:
            one = "1.0" if isinstance(above.value, float) else "1"
            return f"{one} in place of {case.text(above)}", (case.edit(above, one),)
    return _divided(case, place, ratio)


def _divided(case: Case, place: Quantity, ratio: float) -> tuple[str, tuple[Edit, ...]]:
    """Divide by what other lines of the same function divide by, where that is the factor."""
    home, scope = case.home(place), case.site(place.birth).scope
    sites = [case.program.sites[e.site] for e in case.step_events]
    quotients = [s.node for s in sites if s.scope == scope and isinstance(s.node, ast.BinOp)]
    divisors = [node.right for node in quotients if isinstance(node.op, ast.Div) and node not in ast.walk(home)]
    text = next((case.text(d) for d in divisors if _alike(float(case.number(d) or 0), abs(ratio))), "")
    if not text or not isinstance(home, (ast.Call, ast.Name, ast.BinOp)):
        return "", ()
    is_sum = isinstance(home, ast.BinOp) and isinstance(home.op, (ast.Add, ast.Sub))
    own = case.text(home)
    return f"/ {text}", (case.edit(home, f"{f'({own})' if is_sum else own} / {text}"),)


# -- the line to blame -----------------------------------------------------------------------------------


def _culprit(case: Case, gradient: Adjoint, healthy: list[Adjoint]) -> Adjoint:
    """The first link from the loss whose own factor is not 1, unless healthy gradients rest on it too."""
    trusted = _trusted(case, healthy)
    links = case.chain(gradient)
    for link in reversed(links[1:]):
        if link.value.object not in trusted and abs(link.fit.factor - 1) > SAME_WITHIN:
            return link
    return gradient


def _trusted(case: Case, healthy: list[Adjoint]) -> set[int]:
    """The values that healthy gradients rest on: by their chains, or by what was read for one judged on the loss."""
    known = {link.value.object for g in healthy for link in case.chain(g)}
    direct = {g.value.object for g in healthy if len(case.chain(g)) == 1}
    return known.union(*(found for number, found in case.once(_read_for).items() if number in direct))


def _read_for(case: Case) -> dict[int, set[int]]:
    """For each gradient that was judged on the loss alone the values of the backward pass it is made from."""
    found: dict[int, set[int]] = {}
    for parameter in case.roles.parameters:
        gradient = case.gradient(parameter)
        if gradient is None or len(case.chain(gradient)) > 1 or gradient.is_step:
            continue
        seen, pending = found.setdefault(gradient.value.object, set()), [gradient.value]
        while pending:
            value = pending.pop()
            for read in case.operand_quantities(case.statement(value)):
                is_backward = case.roles.backward(case.trace.by_key[read.birth])
                if is_backward and read.object not in seen and read.index < value.index:
                    seen.add(read.object)
                    pending.append(read)
    return found


def _source(
    link: Adjoint, ratio: float, found: list[tuple[Adjoint, float, _Total]], healthy: list[Adjoint], case: Case
) -> Quantity:
    """The value from which two lines have the same factor, if nothing healthy rests on it; else the link's own."""
    trusted = _trusted(case, healthy)
    given = link.upstream
    if given is None or given.object in trusted:
        return link.value
    others = {
        other.value.object
        for other, factor, _ in found
        if other.upstream is not None and other.upstream.object == given.object and _alike(factor, ratio)
    }
    return given if len(others) > 1 else link.value
