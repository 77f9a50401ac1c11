"""BD101 batch-size-from-feature-axis: the average is taken over something other than the samples."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.program import Event, Key
from backprop_doctor.records import Edit, Evidence

SEVERITY = "error"
SIMPLE = (1.0, 2.0, 0.5)


def examine(case: Case) -> Iterator[Sighting]:
    """Put the number of samples in place of each other size, and see what scales by the ratio."""
    n = case.samples
    if n < 2:
        return
    watched = _judged(case)
    seen: set[int] = set()
    for event in case.trace.events[: case.roles.step.middle]:
        site = case.program.sites[event.site]
        if event.site in seen or not _is_size(case, site.node) or not _is_count(event, n):
            continue
        seen.add(event.site)
        size = int(event.value)
        axis = next((a for a, s in case.axes.sizes.items() if s == size and a != "samples"), None)
        if axis is None:
            continue
        scaled = _scaled(case, event, n / size, watched)
        wrong = [name for key, name in scaled.items() if _replaces_samples(case, key, size)]
        if wrong:
            yield Sighting(
                node=site.node,
                message=f"{site.target or case.text(site.node)} is {size}, the number of {axis}, and the "
                f"average is taken over it; there are {n} samples in this run",
                label=f"{size} {axis}, not the {n} samples",
                why=f"a mean over the batch divides by N = {n}; dividing by {size} makes the step N/{size} "
                "times too large, and more so the larger the batch",
                evidence=(
                    Evidence(
                        f"{', '.join(wrong[:4])} when this number is replaced by N",
                        f"times {size / n:.3g} exactly",
                        "no change",
                    ),
                ),
                fix=_fix(case, site.node, n)[0],
                edits=_fix(case, site.node, n)[1],
                objects=(event.object,),
            )


def _is_size(case: Case, node: ast.AST) -> bool:
    """``X.shape[1]``, ``np.shape(X)[1]``, ``len(W)``: a number read off an array's shape."""
    if isinstance(node, ast.Subscript):
        base = node.value
        return (isinstance(base, ast.Attribute) and base.attr == "shape") or (
            isinstance(base, ast.Call) and case.text(base.func).endswith("shape")
        )
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "len"


def _is_count(event: Event, n: int) -> bool:
    return isinstance(event.value, int) and event.value > 1 and event.value != n


def _judged(case: Case) -> dict[Key, str]:
    """The gradients and the declared loss, with their names."""
    found = {g.value.birth: g.value.name for g in case.judgement.gradients.values() if g}
    for parameter in case.roles.parameters:
        for operand in case.judgement.operands[parameter.object][:1]:
            found.setdefault(operand.birth, operand.name)
    if case.judgement.declared:
        found[case.judgement.declared.birth] = case.judgement.declared.name
    return found


def _scaled(case: Case, event: Event, ratio: float, watched: dict[Key, str]) -> dict[Key, str]:
    """Which watched values scale by exactly 1/ratio when the number is replaced."""
    n = case.samples
    keys = {e.key for e in case.trace.events if e.site == event.site and e.value == event.value}
    changed = case.measurement.run(dict.fromkeys(keys, lambda value: n), keep=frozenset(watched))
    result = {}
    for key, name in watched.items():
        before, after = case.value(key), changed.value(key)
        if before is None or after is None or np.shape(before) != np.shape(after):
            continue
        a, b = np.asarray(before, np.float64), np.asarray(after, np.float64)
        if np.any(a) and np.allclose(b * ratio, a, rtol=1e-9, atol=0) and np.all(np.isfinite(a)):
            result[key] = name
    return result


def _replaces_samples(case: Case, key: Key, size: int) -> bool:
    """Whether the value is 1/size (times a simple number) of the sum over samples: N is nowhere in it."""
    declared = case.judgement.declared
    if declared is not None and key == declared.birth:
        return _loss_replaces_samples(case, size)
    for gradient in case.judgement.gradients.values():
        if gradient is not None and gradient.value.birth == key:
            total = case.total_factor(gradient)
            if total is None:
                total = gradient.fit.factor if gradient.right else None
            return total is not None and any(abs(abs(total) * size / s - 1) < 1e-4 for s in SIMPLE)
    # A bias gradient of the wrong shape has no factor: it follows what the others say.
    return any(
        g is not None and g.right and any(abs(abs(g.fit.factor) * size / s - 1) < 1e-4 for s in SIMPLE)
        for g in case.judgement.gradients.values()
    )


def _loss_replaces_samples(case: Case, size: int) -> bool:
    output, target, declared = case.roles.output, case.judgement.target, case.judgement.declared
    if output is None or target is None or declared is None:
        return False
    p = np.asarray(case.value(output), np.float64)
    loss = float(np.sum(np.asarray(case.value(declared))))
    with np.errstate(all="ignore"):
        sums = (
            -np.sum(target * np.log(p)),
            np.sum((p - target) ** 2),
            np.sum(-target * np.log(p) - (1 - target) * np.log(1 - p)),
        )
    return any(
        abs(loss * size / (s * total) - 1) < 1e-6 for total in sums for s in SIMPLE if np.isfinite(total) and total
    )


def _fix(case: Case, node: ast.AST, n: int) -> tuple[str, tuple[Edit, ...]]:
    """Swap the index of a shape where another index of the same shape is the number of samples."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        base = node.value.value if isinstance(node.value, ast.Attribute) else None
        if isinstance(node.value, ast.Call) and node.value.args:
            base = node.value.args[0]
        for event in case.trace.events:
            if base is not None and case.program.sites[event.site].node is base and n in np.shape(event.value):
                axis = np.shape(event.value).index(n)
                return f"{case.text(node.value)}[{axis}]", (case.edit(node.slice, str(axis)),)
    return "divide by the number of samples", ()
