"""Is a step a number times the gradient?  Of one kind of parameters, some that step otherwise are suspicious.

An optimiser with weight decay or a scale for each entry does not step along the gradient, but then it does so for
all its parameters alike.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.case import Case
from backprop_doctor.gradients import aligned, fit
from backprop_doctor.roles import Parameter

__all__ = ["doubled", "odd_steps"]

ODD_ABOVE = 1e-3
RIGHT_BELOW = 1e-5
# Of fewer entries two multiples can make any step.
ENTRIES = 3
# Of itself a penalty takes away no more than this in a step.
SMALL = 0.1


def odd_steps(case: Case) -> set[str]:
    """Names of the parameters that do not step along their gradients, where most of the others do.

    Values are compared where the derivatives were measured, with parameters away from zero.
    """
    residuals = {p.name: _residual(case, p) for p in case.roles.parameters}
    odd = {name for name, residual in residuals.items() if residual is not None and residual > ODD_ABOVE}
    plain = sum(residual is not None and residual <= ODD_ABOVE for residual in residuals.values())
    return odd if plain > len(odd) else set()


def doubled(case: Case) -> list[tuple[Parameter, float]]:
    """Parameters that their own step adds once more, and how many times they are in it."""
    shares = [(parameter, _share(case, parameter)) for parameter in case.roles.parameters]
    return [(p, share) for p, share in shares if share is not None and abs(share - 1) < RIGHT_BELOW]


def _share(case: Case, parameter: Parameter) -> float | None:
    """How many times the parameter is in its own step; None where that is made of more than it and the gradient."""
    gradient = case.gradient(parameter)
    if gradient is None or gradient.is_step or not parameter.updates or np.prod(parameter.shape) < ENTRIES:
        return None
    before, after = (_array(case, key) for key in (parameter.birth, parameter.updates[-1]))
    value = aligned(case.live.value(gradient.value.birth), parameter.shape)
    if before is None or after is None or value is None or before.shape != after.shape:
        return None
    step, columns = (after - before).ravel(), np.stack([np.ravel(value), before.ravel()], axis=1)
    if not np.all(np.isfinite(columns)) or not np.all(np.isfinite(step)) or np.linalg.matrix_rank(columns) < 2:
        return None
    shares, *_ = np.linalg.lstsq(columns, step, rcond=None)
    rest = float(np.linalg.norm(step - columns @ shares))
    return float(shares[1]) if rest < RIGHT_BELOW * float(np.linalg.norm(step)) else None


def _array(case: Case, key: tuple[int, int]) -> NDArray[np.float64] | None:
    value = case.live.value(key)
    return None if value is None else np.asarray(value, np.float64)


def _residual(case: Case, parameter: Parameter) -> float | None:
    """What of the step is no multiple of the gradient, as a fraction of it; None where there is none.

    A share of the parameter itself that the step takes away belongs to a penalty on its size.
    """
    adjoint = case.gradient(parameter)
    if adjoint is None or adjoint.is_step or not parameter.updates:
        return None
    gradient = case.live.value(adjoint.value.birth)
    before, after = case.live.value(parameter.birth), case.live.value(parameter.updates[-1])
    if gradient is None or before is None or after is None or np.shape(before) != np.shape(after):
        return None
    value = aligned(gradient, np.shape(before))
    if value is None:
        return None
    step = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    plain = fit(step.ravel(), value.ravel()).residual
    share = _share(case, parameter) if plain > ODD_ABOVE else None
    return 0.0 if share is not None and -SMALL < share < 0 and plain < 1 else plain
