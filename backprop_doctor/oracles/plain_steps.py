"""Is a step a number times the gradient?  Of one kind of parameters, some that step otherwise are suspicious.

An optimiser with weight decay or a scale for each entry does not step along the gradient, but then it does so for
all its parameters alike.
"""

from __future__ import annotations

import numpy as np

from backprop_doctor.case import Case
from backprop_doctor.gradients import aligned, fit
from backprop_doctor.roles import Parameter

__all__ = ["odd_steps"]

ODD_ABOVE = 1e-3


def odd_steps(case: Case) -> set[str]:
    """Names of the parameters that do not step along their gradients, where most of the others do.

    Values are compared where the derivatives were measured, with parameters away from zero.
    """
    residuals = {p.name: _residual(case, p) for p in case.roles.parameters}
    odd = {name for name, residual in residuals.items() if residual is not None and residual > ODD_ABOVE}
    plain = sum(residual is not None and residual <= ODD_ABOVE for residual in residuals.values())
    return odd if plain > len(odd) else set()


def _residual(case: Case, parameter: Parameter) -> float | None:
    """What of the step is not a multiple of the gradient, as a fraction of it; None where there is none."""
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
    return fit(step.ravel(), value.ravel()).residual
