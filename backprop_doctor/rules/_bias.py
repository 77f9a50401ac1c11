"""What the rules about bias gradients share: which gradient has another shape than its parameter, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from backprop_doctor.case import Case, Reduction
from backprop_doctor.gradients import fit
from backprop_doctor.roles import Parameter, Quantity
from backprop_doctor.rules._untrained import Untrained, untrained
from backprop_doctor.values import is_array


@dataclass(frozen=True)
class BiasGradient:
    """A gradient whose shape or values do not fit its bias, the delta it came from and the reduction used."""

    parameter: Parameter
    gradient: Quantity
    upstream: Quantity
    reduction: Reduction | None


def bias_gradients(case: Case) -> Iterator[BiasGradient]:
    """Gradients of parameters that are not right and come from one backward array by reducing it."""
    backward = {q.object: q for q in case.judgement.backward}
    for parameter in case.roles.parameters:
        gradient = case.gradient(parameter)
        if gradient is not None and gradient.right:
            continue
        operands = [_meant(case, q) for q in case.judgement.operands[parameter.object]]
        values = [gradient.value] if gradient is not None else operands
        made = next(((v, r) for v in values if (r := _reduction(case, v, backward)) is not None), None)
        if made is not None:
            yield BiasGradient(parameter, made[0], backward[made[1].operand.object], made[1])
            continue
        inline = _inline(case, parameter, backward)
        if inline is not None:
            yield inline
            continue
        if not values:
            continue
        value = _made(case, values[0], backward)
        sources = _read(case, value, backward)
        if sources:
            yield BiasGradient(parameter, value, sources[0], None)
        elif value.object in backward:
            yield BiasGradient(parameter, value, value, None)
    for one in case.once(untrained):
        yield from meant_for(case, one)


def meant_for(case: Case, one: Untrained) -> Iterator[BiasGradient]:
    """What the program makes for a bias that it never trains, where that is no gradient of it.

    A lost update reads it; else it is one of the values that nothing reads, a sum of a delta over whatever axes that
    would be the gradient over the right ones.
    """
    backward = {q.object: q for q in case.judgement.backward}
    values = (*one.operands, *one.unread)
    if any(case.judgement.claim(value, one.parameter).right for value in values):
        return
    for value in values:
        reduction = _reduction(case, value, backward)
        if reduction is not None:
            upstream = backward[reduction.operand.object]
            if value in one.operands or _is_summed_for(case, one.parameter, upstream):
                yield BiasGradient(one.parameter, value, upstream, reduction)
                return
        elif value in one.operands and value.object in backward:
            yield BiasGradient(one.parameter, value, value, None)
            return


def _is_summed_for(case: Case, parameter: Parameter, upstream: Quantity) -> bool:
    """Whether the sum over the samples of a delta, which is right as one, is the gradient of a parameter."""
    samples, known = case.axes.output_samples, case.judgement.best().get(upstream.object)
    if samples is None or len(upstream.shape) != 2 or known is None or not known.right:
        return False
    found = case.biased(parameter, (samples,), upstream)
    return found is not None and found[1] <= 1e-5


def _read(case: Case, value: Quantity, backward: dict[int, Quantity]) -> list[Quantity]:
    """The arrays of the backward pass that the line of a value reads on the way to it."""
    events = case.events_in(case.statement(value))
    # In a loop over layers the line has read the values of others before.
    near = {e.site: e for e in events if e.object != value.object and e.index <= value.index and is_array(e.value)}
    return [backward.get(e.object) or case.quantity(case.first(e)) for e in near.values() if case.roles.backward(e)]


def _made(case: Case, value: Quantity, backward: dict[int, Quantity]) -> Quantity:
    """What a value is but a multiple of, up to the deltas, which are right as adjoints of their layers."""
    whole = np.ravel(case.value(value))
    for read in _read(case, value, backward):
        part, known = np.ravel(case.value(read)), case.judgement.best().get(read.object)
        if part.size == whole.size > 1 and not (known and known.right) and fit(part, whole).right:
            return _made(case, read, backward)
    return value


def _reduction(case: Case, value: Quantity, backward: dict[int, Quantity]) -> Reduction | None:
    """The call in the line of a value that reduces an array of the backward pass."""
    reductions = case.reductions(case.events_in(case.statement(value)))
    near = [r for r in reductions if r.operand.object in backward and r.event.index <= value.index + 50]
    # In a loop over layers the line has made the gradients of others before.
    return next((r for r in near if r.event.object == value.object), near[0] if near else None)


def _inline(case: Case, parameter: Parameter, backward: dict[int, Quantity]) -> BiasGradient | None:
    """A reduction to one number in the update itself, whatever else the update reads."""
    update = case.trace.by_key[parameter.updates[-1]]
    events = [e for e in case.events_in(case.program.sites[update.site].statement) if e.index < update.index]
    for reduction in reversed(list(case.reductions(events))):
        if reduction.operand.object in backward and np.size(reduction.event.value) == 1:
            upstream = backward[reduction.operand.object]
            return BiasGradient(parameter, case.quantity(case.first(reduction.event)), upstream, reduction)
    return None


def _meant(case: Case, value: Quantity) -> Quantity:
    """For a delta, which is right as the adjoint of its layer, the first multiple of it that is made for the bias."""
    known = case.judgement.best().get(value.object)
    if known is None or not known.right:
        return value
    whole = np.ravel(case.value(value))
    for later in case.judgement.backward:
        if later.index <= value.index or later.object not in case.binding or np.size(case.value(later)) != whole.size:
            continue
        reads = {e.object for e in case.events_in(case.statement(later)) if e.index < later.index}
        if value.object in reads and fit(np.ravel(case.value(later)), whole).right:
            return later
    return value


def growth(case: Case, parameter: Parameter) -> tuple[str, ...]:
    """A sentence on how one step changes the parameter's shape, if it does."""
    if parameter not in case.roles.parameters:
        return ()
    after = case.live.value(parameter.updates[-1])
    before = case.value(parameter)
    if after is None or np.shape(after) == np.shape(before):
        return ()
    return (
        f"{parameter.name} grows from {case.describe(np.shape(before))} to {case.describe(np.shape(after))} "
        "with the first update",
    )
