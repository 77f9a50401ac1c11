"""BD401 update-before-backprop: a parameter is changed before the backward pass has read it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.records import Evidence
from backprop_doctor.roles import Parameter

SEVERITY = "error"


def examine(case: Case) -> Iterator[Sighting]:
    """Compare each gradient with updates in force and with updates held back; release one at a time."""
    disturbed: dict[int, list[str]] = {}
    largest: dict[int, float] = {}
    for parameter in case.roles.parameters:
        gradient = case.gradient(parameter)
        if gradient is None or not gradient.right:
            continue
        key = gradient.value.birth
        held, live = case.value(key), case.live.value(key)
        if live is None or np.shape(live) != np.shape(held) or _distance(live, held) < 1e-9:
            continue
        for other in case.roles.parameters:
            if case.trace.by_key[other.updates[0]].index > gradient.value.index:
                continue
            mended = case.run_updating_all_but(other).value(key)
            if mended is not None and _distance(mended, held) < 0.5 * _distance(live, held):
                disturbed.setdefault(other.object, []).append(gradient.value.name)
                largest[other.object] = max(largest.get(other.object, 0.0), _distance(live, held))
    for parameter in case.roles.parameters:
        if parameter.object in disturbed:
            yield _sighting(case, parameter, disturbed[parameter.object], largest[parameter.object])


def _sighting(case: Case, parameter: Parameter, gradients: list[str], distance: float) -> Sighting:
    site = case.site(parameter.updates[0])
    names = " and ".join(dict.fromkeys(gradients))
    return Sighting(
        node=site.statement,
        message=f"{parameter.name} is updated before the backward pass reads it: {names} is computed "
        "with the new value",
        label=f"too early: {names} still needs the old {parameter.name}",
        why="the gradient of one point needs every parameter at that point; update after the last gradient",
        evidence=(
            Evidence(
                f"{names} with {parameter.name} held back until the end of the step",
                f"differs by {distance:.2g}",
                "no difference",
            ),
        ),
        fix=f"move below the line that computes {gradients[-1]}",
        objects=(parameter.successor,),
    )


def _distance(a: object, b: object) -> float:
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    norm = float(np.linalg.norm(y))
    return float(np.linalg.norm(x - y)) / norm if norm else float(np.linalg.norm(x))
