"""BD605 label-encoding: class numbers or broken rows stand where one-hot labels are needed.

Stub
----
x
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.normalisation import normalised_over
from backprop_doctor.oracles.order import scrambled
from backprop_doctor.program import Event
from backprop_doctor.records import Evidence
from backprop_doctor.roles import Quantity

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """Class numbers where the output has a column for each class, or label rows that do not name one class."""
    output, axis = case.roles.output, case.axes.output_samples
    if output is None or axis is None or len(output.shape) != 2 or output.shape[1 - axis] < 2:
        return
    labels = _met(case, output)
    if labels is None:
        return
    event, difference = labels
    node = case.program.sites[difference.site].node
    statement = case.program.sites[difference.site].statement
    spoiled = tuple({e.object for e in case.events_in(statement) if case.roles.backward(e)})
    value = np.asarray(event.value, np.float64)
    classes, samples = output.shape[1 - axis], output.shape[axis]
    name = case.text(case.program.sites[event.site].node)
    whole = bool(np.all(np.isfinite(value)) and np.array_equal(value, np.round(value)))
    if whole and value.size == samples != output.shape[0] * output.shape[1] and value.max() > 1:
        yield Sighting(
            node=node,
            message=f"{name} holds class numbers up to {value.max():.0f}, and the output {output.name} has {classes} "
            "entries a sample",
            label="class numbers, not one-hot",
            why=f"the difference stretches the number over all {classes} entries: every entry is asked to become "
            "the class number",
            evidence=(
                Evidence(f"range of {name}", f"{value.min():.0f} to {value.max():.0f}", "0 to 1"),
                Evidence(f"entries a sample in {name}", "1", str(classes)),
            ),
            fix=f"one-hot labels: np.eye({classes})[...]",
            objects=spoiled,
        )
    elif value.shape == output.shape and normalised_over(case) == "classes" and set(np.unique(value)) <= {0.0, 1.0}:
        sums = value.sum(axis=1 - axis)
        wrong = int(np.sum(sums != 1))
        if wrong == 0 or any(scrambled(case)):
            return
        yield Sighting(
            node=node,
            message=f"{wrong} of {samples} rows of {name} do not name exactly one class, and the output shares 1 among "
            "the classes",
            label="not one class a sample",
            why="softmax gives probabilities that sum to 1; labels that sum to 0 or 2 cannot be reached",
            evidence=(
                Evidence(f"sum of the label of a sample in {name}", f"{sums.min():.0f} to {sums.max():.0f}", "1"),
            ),
            fix=f"one-hot labels: np.eye({classes})[...], with classes from 0 to {classes - 1}",
            objects=spoiled,
        )


def _met(case: Case, output: Quantity) -> tuple[Event, Event] | None:
    """The labels that meet the output, or what has its shape, in one difference, and that expression."""
    roles = case.roles
    found: tuple[Event, Event] | None = None
    for event in case.step_events:
        site = case.program.sites[event.site]
        if event.index < output.index or site.kind != "operation" or np.shape(event.value) != output.shape:
            continue
        operands = case.children(event)
        if len(operands) != 2:
            continue
        labels = [o for o in operands if roles.on_labels[o.index] and not roles.on_parameters[o.index]]
        others = [o for o in operands if roles.forward(o) and np.shape(o.value) == output.shape]
        if labels and others and isinstance(labels[0].value, np.ndarray):
            if isinstance(site.node, ast.BinOp) and isinstance(site.node.op, ast.Sub):
                return labels[0], event
            found = found or (labels[0], event)
    return found
