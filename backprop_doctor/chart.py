"""The program's own lines with shapes, axes and a verdict each, and the network they make up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backprop_doctor.adjoints import Adjoint
from backprop_doctor.case import Case
from backprop_doctor.program import Event
from backprop_doctor.records import (
    DataRole,
    Finding,
    LineVerdict,
    Loss,
    Metric,
    Network,
    ParameterVerdict,
    Role,
    Verdict,
)
from backprop_doctor.roles import Parameter, Quantity

if TYPE_CHECKING:
    from backprop_doctor.oracles.accuracy import Accuracy

__all__ = ["describe", "lines"]


def describe(case: Case, findings: list[Finding], wrong: dict[int, str]) -> Network:
    """Parameters with their verdicts, data, loss and metric."""
    roles = case.roles
    accuracy = case.accuracy
    return Network(
        parameters=(
            *(_parameter(case, p, wrong) for p in roles.parameters),
            *(_constant(case, c, wrong) for c in roles.constants),
        ),
        inputs=_data(case, roles.inputs[0]) if roles.inputs else None,
        labels=_data(case, roles.labels[0]) if roles.labels else None,
        output=_data(case, roles.output) if roles.output else None,
        loss=_loss(case),
        metric=(_metric(case, accuracy, findings) if accuracy else None),
    )


def _metric(case: Case, accuracy: Accuracy, findings: list[Finding]) -> Metric:
    quantity, home = accuracy.quantity, case.site(accuracy.quantity.birth).source
    # What neither counts hits nor was found to count them wrongly may be any number, and no accuracy at all.
    is_accuracy = accuracy.unit is not None or any(f.code.startswith("BD5") for f in findings)
    return Metric(
        quantity.name,
        quantity.line,
        accuracy.reported if is_accuracy else None,
        accuracy.recomputed,
        home.path,
        home.cell,
        counts_hits=accuracy.unit is not None,
        is_share=accuracy.unit in (1.0, 100.0)
        or any(n is not None and n % 1 for n in (*accuracy.perfect, accuracy.half)),
    )


def lines(case: Case, findings: list[Finding], wrong: dict[int, str]) -> tuple[LineVerdict, ...]:
    """One entry for each line of the first step that binds a value of some role."""
    found: dict[tuple[str, int, str], LineVerdict] = {}
    metric = {e.site for e in case.accuracy.chain} if case.accuracy else set()
    judged = case.judgement.best()
    errors = [f.position for f in findings if f.severity == "error"]
    for event in case.trace.events[case.roles.training.start : case.roles.training.middle]:
        site = case.program.sites[event.site]
        if event.object == -1 or site.target is None or (site.source.name, site.line, site.target) in found:
            continue
        role = _role(case, event, metric, judged)
        if role is None:
            continue
        verdict, meaning, error = _verdict(case, event, role, judged, wrong)
        line = int(site.statement.lineno)
        last = int(site.statement.end_lineno or line)
        home = site.source
        if any((at.path, at.cell) == (home.path, home.cell) and line <= at.line <= last for at in errors):
            verdict = "wrong"
        shape = np.shape(event.value)
        found[home.name, line, site.target] = LineVerdict(
            path=home.path,
            cell=home.cell,
            line=line,
            target=site.target,
            role=role,
            shape=shape,
            axes=case.axes.of(shape),
            verdict=verdict,
            meaning=meaning,
            relative_error=error,
        )
    order = {source.name: number for number, source in enumerate(case.source.sources)}
    return tuple(verdict for _, verdict in sorted(found.items(), key=lambda item: (order[item[0][0]], item[1].line)))


def _role(case: Case, event: Event, metric: set[int], judged: dict[int, Adjoint]) -> Role | None:
    roles = case.roles
    if any(event.key in p.updates for p in roles.parameters):
        return "update"
    if event.site in metric:
        return "metric"
    if roles.backward(event):
        losses = {q.object for q in case.judgement.losses}
        if event.object in losses or (
            event.object not in judged and case.judgement.losses and _feeds_loss(case, event, losses)
        ):
            return "loss"
        return "backward" if np.ndim(event.value) > 0 or event.object in judged else None
    if roles.forward(event) and roles.on_inputs[event.index]:
        return "forward" if np.ndim(event.value) > 0 else None
    return None


def _feeds_loss(case: Case, event: Event, losses: set[int]) -> bool:
    """Whether the value is read in an expression that makes one of the loss's numbers."""
    for later in case.step_events:
        if later.object in losses and later.index > event.index:
            reads = case.children(later)
            if any(r.object == event.object for r in reads):
                return True
    return False


def _verdict(
    case: Case, event: Event, role: Role, judged: dict[int, Adjoint], wrong: dict[int, str]
) -> tuple[Verdict, str, float | None]:
    adjoint = judged.get(event.object) if role == "backward" else None
    if event.object in wrong:
        return "wrong", wrong[event.object], adjoint.fit.residual if adjoint else None
    if role in ("forward", "loss", "metric"):
        return "right", "", None
    if role == "update":
        return ("right", "step against the gradient", None)
    if adjoint is None:
        return "unknown", "not traced to any gradient", None
    if adjoint.right:
        return "right", meaning(case, adjoint), adjoint.fit.residual
    return "unknown", f"not the gradient of {adjoint.of.name}", adjoint.fit.residual


def meaning(case: Case, adjoint: Adjoint) -> str:
    """``gradient of W1, times 1/N``."""
    factor = case.factor(adjoint.fit.factor)
    text = f"gradient of {adjoint.of.name}"
    return text if factor == "1" else f"{text}, times {factor}"


def _parameter(case: Case, parameter: Parameter, wrong: dict[int, str]) -> ParameterVerdict:
    gradient = case.gradient(parameter)
    operands = case.judgement.operands[parameter.object]
    blamed = [q for q in operands if q.object in wrong]
    candidate = gradient.value if gradient else next(iter(blamed or operands), None)
    verdict: Verdict
    if gradient is not None and gradient.right and gradient.value.object not in wrong:
        links = [link for link in case.chain(gradient)[1:] if not link.right or link.value.object in wrong]
        if parameter.successor in wrong:
            verdict, reason = "wrong", f"{wrong[parameter.successor]}: its update is wrong"
        elif any(link.value.object in wrong for link in links):
            verdict, reason = "wrong", f"right given {gradient.upstream.name if gradient.upstream else 'the loss'}, "
            reason += f"but {links[0].value.name} is wrong"
        elif links:
            verdict, reason = "unknown", f"{links[0].value.name} was not traced to any loss"
        else:
            verdict, reason = "right", _basis(gradient)
    elif candidate is not None and candidate.object in wrong:
        verdict, reason = "wrong", f"{wrong[candidate.object]} at line {candidate.line}"
    elif parameter.successor in wrong:
        verdict, reason = "wrong", f"{wrong[parameter.successor]}: its update is wrong"
    else:
        verdict, reason = "unknown", "no value of its shape was found that follows the loss it descends"
    return ParameterVerdict(
        name=parameter.name,
        line=parameter.line,
        shape=parameter.shape,
        axes=case.axes.of(parameter.shape),
        gradient=candidate.name if candidate else None,
        verdict=verdict,
        relative_error=gradient.fit.residual if gradient else None,
        factor=case.factor(gradient.fit.factor) if gradient and gradient.right else None,
        reason=reason,
        path=case.site(parameter.birth).source.path,
        cell=case.site(parameter.birth).source.cell,
    )


def _basis(gradient: Adjoint) -> str:
    if gradient.upstream is not None and gradient.through is not None:
        return f"given {gradient.upstream.name} as gradient of {gradient.through.name}"
    return f"against finite differences of {gradient.loss}"


def _constant(case: Case, constant: Quantity, wrong: dict[int, str]) -> ParameterVerdict:
    verdict: Verdict = "wrong" if constant.object in wrong else "unknown"
    return ParameterVerdict(
        constant.name,
        constant.line,
        constant.shape,
        case.axes.of(constant.shape),
        None,
        verdict,
        None,
        None,
        "never updated" if verdict == "wrong" else "the step that was followed leaves it as it is",
        case.site(constant.birth).source.path,
        case.site(constant.birth).source.cell,
    )


def _loss(case: Case) -> Loss:
    judgement = case.judgement
    if judgement.declared is not None:
        formula = judgement.implied if not judgement.declared_fits else None
        return Loss(judgement.declared.name, judgement.declared.line, "declared", formula or judgement.declared.name)
    if judgement.implied:
        return Loss(None, None, "implied", judgement.implied)
    return Loss(None, None, "none", None)


def _data(case: Case, quantity: Quantity) -> DataRole:
    return DataRole(quantity.name, quantity.shape, case.axes.of(quantity.shape), quantity.line)
