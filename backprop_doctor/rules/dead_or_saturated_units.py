"""BD804 dead-or-saturated-units: most units of a layer are switched off for every sample.

Stub
----
x
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.descent import descend_trace
from backprop_doctor.oracles.units import Layer, hidden_layers, units_of
from backprop_doctor.program import Trace
from backprop_doctor.records import Evidence

SEVERITY = "warning"

SAMPLES = 8
SHARE = 0.5
TURNS = 20


def examine(case: Case) -> Iterator[Sighting]:
    """Units with a corner in their activation that are off for every sample, at the start or after some steps."""
    layers = [layer for layer in hidden_layers(case) if layer.has_corner]
    at_start = [(layer, dead) for layer in layers if (dead := _dead(case, layer, case.trace, 0)) is not None]
    for layer, dead in at_start:
        if np.mean(dead) > SHARE:
            yield _sighting(case, layer, dead, "before the first step", ())
            return
    if not at_start or not case.is_right:
        return
    keys = frozenset(_key(case, layer, TURNS - 1) for layer, _ in at_start)
    trace = case.run({}, keep=keys, limit=case.step_limit(TURNS))
    for layer, _ in at_start:
        dead = _dead(case, layer, trace, TURNS - 1)
        if dead is None or np.mean(dead) <= SHARE:
            continue
        slower = descend_trace(case, TURNS, 0.1, keys)
        fewer = None if slower is None else _dead(case, layer, slower, TURNS - 1)
        if fewer is not None and np.mean(fewer) <= SHARE:
            other = Evidence("the same with steps a tenth as long", f"{fewer.sum()} of {fewer.size}", "few")
            yield _sighting(case, layer, dead, f"after {TURNS} steps", (other,))
            return


def _key(case: Case, layer: Layer, turn: int) -> tuple[int, int]:
    site, first = layer.activation.birth
    return site, first + turn * case.per_turn(layer.activation.birth)


def _dead(case: Case, layer: Layer, trace: Trace, turn: int) -> NDArray[np.bool_] | None:
    """For each unit whether its activation is the same flat value for all samples; None where that is unknown."""
    value = trace.value(_key(case, layer, turn))
    array = None if value is None else units_of(case, value)
    if array is None or array.shape[0] < SAMPLES or array.shape[1] < 2 or not np.all(np.isfinite(array)):
        return None
    constant = np.ptp(array, axis=0) == 0
    flat = float(layer.activations.min())
    off: NDArray[np.bool_] = constant & (array[0] == flat)
    return off


def _sighting(case: Case, layer: Layer, dead: NDArray[np.bool_], when: str, more: tuple[Evidence, ...]) -> Sighting:
    return Sighting(
        node=case.home(layer.activation),
        message=f"{dead.sum()} of the {dead.size} units of {layer.activation.name} are off for every sample {when}",
        label="units that are always off",
        why="where the activation is flat the slope is 0: such a unit gets no gradient and stays as it is",
        evidence=(Evidence(f"units off for all samples {when}", f"{dead.sum()} of {dead.size}", "few"), *more),
        fix="a smaller rate, weights around 0 and biases at 0, or a leaky ReLU",
    )
