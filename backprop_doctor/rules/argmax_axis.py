"""BD501 argmax-axis: the predicted class is searched along the samples, or in the whole array.

Stub
----
x
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting, axis_edits
from backprop_doctor.oracles.accuracy import Accuracy, ArgMax, argmaxes
from backprop_doctor.records import Edit, Evidence

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """The metric is no accuracy, and on the way to it an argmax runs over the samples or over everything."""
    accuracy, axis = case.accuracy, case.axes.output_samples
    if accuracy is None or axis is None or accuracy.unit is not None:
        return
    before = [a for a in argmaxes(case, case.short) if a.event.index <= accuracy.event.index]
    wrong = [a for a in before if _is_wrong(a, axis, accuracy)]
    scores = [a for a in wrong if not _is_one_hot(a)]
    if not scores:
        return
    call = scores[-1]
    node = case.program.sites[call.event.site].node
    samples, classes = np.shape(call.operand.value)[axis], np.shape(call.operand.value)[1 - axis]
    count = int(np.size(call.event.value))
    over = "over the samples" if count > 1 else "over the whole array"
    operand = case.program.sites[call.operand.site]
    unit = 100.0 if accuracy.perfect[0] > 1.5 else 1.0
    yield Sighting(
        node=node,
        message=f"{case.text(node)} runs {over}: it gives {count} number{'s' * (count != 1)}, not one for each of the "
        f"{samples} samples",
        label=f"runs {over}",
        why=f"{case.text(operand.node)} has shape {np.shape(call.operand.value)}: the predicted class of a sample is "
        f"the place of the largest of its {classes} scores, along axis {1 - axis}",
        evidence=(
            Evidence("numbers that the argmax gives", str(count), str(samples)),
            Evidence(
                f"{accuracy.quantity.name} when half of the predictions are right",
                "unknown" if accuracy.half is None else f"{accuracy.half:.3g}",
                f"{unit * (samples // 2) / samples:.3g}",
            ),
        ),
        fix=f"axis = {1 - axis}",
        edits=_edits(case, wrong, 1 - axis),
        objects=(accuracy.quantity.object,),
    )


def _is_wrong(call: ArgMax, axis: int, accuracy: Accuracy) -> bool:
    shape = np.shape(call.operand.value)
    return 1 - axis not in call.axes and shape[axis] == accuracy.samples and shape[1 - axis] > 1


def _is_one_hot(call: ArgMax) -> bool:
    return bool(np.all(np.isin(call.operand.value, (0, 1))))


def _edits(case: Case, wrong: list[ArgMax], axis: int) -> tuple[Edit, ...]:
    nodes = {id(node): node for a in wrong if (node := case.program.sites[a.event.site].node)}
    return tuple(e for node in nodes.values() for e in axis_edits(case, node, axis, keepdims=False))  # type: ignore[arg-type]
