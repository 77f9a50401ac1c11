"""BD801 symmetric-initialisation: hidden units start alike and stay copies of each other.

Stub
----
x
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.case import Case, Sighting
from backprop_doctor.oracles.units import hidden_values, units_of
from backprop_doctor.records import Edit, Evidence
from backprop_doctor.roles import Parameter, Quantity

SEVERITY = "error"

TURNS = 4
ALIKE = 1e-10


def examine(case: Case) -> Iterator[Sighting]:
    """Hidden units that give the same numbers in the first step and still after some updates."""
    seen: set[int] = set()
    # A value with a name says more than the product it is made from.
    values = sorted(hidden_values(case), key=lambda q: not q.name.replace(".", "").isidentifier())
    for units in values:
        parameter = _weights(case, units)
        if parameter is None or parameter.object in seen or not _alike(case, units, case.trace.value(units.birth)):
            continue
        site, first = units.birth
        keys = [(site, first + turn * case.per_turn(units.birth)) for turn in range(1, TURNS)]
        trace = case.run({}, keep=frozenset(keys), limit=case.step_limit(TURNS))
        later = [trace.value(key) for key in keys if trace.value(key) is not None]
        if not later or not all(_alike(case, units, value) for value in later):
            continue
        seen.add(parameter.object)
        array = units_of(case, case.trace.value(units.birth))
        count = array.shape[1] if array is not None else 0
        text, edits = _fix(case, parameter, units)
        yield Sighting(
            node=case.home(parameter),
            message=f"the {count} hidden units of {units.name} start with equal weights and stay copies of each other",
            label="all units start alike",
            why=f"equal units receive equal gradients: {count} units do the work of one",
            evidence=(
                Evidence(
                    f"largest difference between units of {units.name} after {len(later)} updates",
                    f"{max(_difference(case, value) for value in later):.3g}",
                    "above 0",
                ),
            ),
            fix=text,
            edits=edits,
        )
        return


def _alike(case: Case, units: Quantity, value: object) -> bool:
    array = units_of(case, value)
    if array is None or array.shape[1] < 2 or not np.all(np.isfinite(array)):
        return False
    return _difference(case, value) <= ALIKE * max(float(np.abs(array).max()), 1e-300)


def _difference(case: Case, value: object) -> float:
    array = units_of(case, value)
    assert array is not None
    return float(np.ptp(array, axis=1).max())


def _weights(case: Case, units: Quantity) -> Parameter | None:
    """The weight matrix read last before the units are computed."""
    matrices = {p.object: p for p in case.roles.parameters if sum(n > 1 for n in p.shape) == 2}
    reads = [e for e in case.step_events if e.object in matrices and e.index <= units.index]
    return matrices[reads[-1].object] if reads else None


def _fix(case: Case, parameter: Parameter, units: Quantity) -> tuple[str, tuple[Edit, ...]]:
    """Random numbers in place of a call that fills an array with one number."""
    text = "start the weights at small random numbers"
    home = case.home(parameter)
    calls = [n for n in ast.walk(home) if isinstance(n, ast.Call) and n.args and isinstance(n.args[0], ast.Tuple)]
    if len(calls) != 1 or not isinstance(calls[0].func, ast.Attribute) or case.text(calls[0].func.value) != "np":
        return text, ()
    shape = calls[0].args[0]
    assert isinstance(shape, ast.Tuple)
    array = units_of(case, case.trace.value(units.birth))
    if len(shape.elts) != 2 or array is None:
        return text, ()
    count, first_is_units = array.shape[1], parameter.shape[0] == array.shape[1]
    if parameter.shape == (count, count):
        first_is_units = case.axes.input_samples == 1
    fan_in = case.text(shape.elts[1 if first_is_units else 0])
    inside = ", ".join(case.text(side) for side in shape.elts)
    return text, (case.edit(home, f"np.random.randn({inside}) * np.sqrt(1 / {fan_in})"),)
