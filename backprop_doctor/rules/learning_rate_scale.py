"""BD803 learning-rate-scale: the steps are too long or too short for right gradients.

What it does
------------
Warns of a loss that climbs, or hardly moves, though every gradient is right,
and falls when the steps are made shorter or longer.

Why it is wrong
---------------
A step of rate r along the gradient lowers the loss by about r * |g|^2 as long
as r is below 2 over the largest curvature, and raises it above that. A
gradient that is summed over N samples is N times their mean, so that a rate
that fits the mean is N times too large. This rule speaks only if all
gradients are right: a wrong divisor makes steps too long as well, and is no
matter of the rate.

Example (samples first)
-----------------------
A rate of 5 where 2 is the limit::

    import numpy as np

    rng = np.random.default_rng(0)
    area = rng.uniform(500, 2500, size=(80, 1))
    price = 0.002 * area + 0.1 * rng.normal(size=(80, 1))
    X = (area - area.mean()) / area.std()
    w, b = np.zeros((1, 1)), np.zeros((1, 1))
    for step in range(20):
        error = X @ w + b - price
        w = w - 5.0 * X.T @ error / len(X)
        b = b - 5.0 * error.mean(axis=0, keepdims=True)
        print(step, "mean squared error", np.mean(error**2))

Use instead (samples first)
---------------------------
A rate of 0.1::

    import numpy as np

    rng = np.random.default_rng(0)
    area = rng.uniform(500, 2500, size=(80, 1))
    price = 0.002 * area + 0.1 * rng.normal(size=(80, 1))
    X = (area - area.mean()) / area.std()
    w, b = np.zeros((1, 1)), np.zeros((1, 1))
    for step in range(20):
        error = X @ w + b - price
        w = w - 0.1 * X.T @ error / len(X)
        b = b - 0.1 * error.mean(axis=0, keepdims=True)
        print(step, "mean squared error", np.mean(error**2))

How it is detected
------------------
The program is trained for 20 steps. If the loss is half as high again, or no
number, they are taken again with every step a tenth, a hundredth ... as long
until it falls. If it would not fall by 5 % in all turns of the loop, they are
taken again a hundred, a thousand ... times as long. Shown are the losses
after one, ten and a hundred steps of both, what the gradient of the mean loss
is multiplied by in a step (a wrong divisor would be in it, and is reported
instead of this), and the change of the weights against their size.

Fix safety
----------
No edit is made: the rate is the author's to choose.

Known limits
------------
- It is a warning. Losses of mini-batches scatter, and only those that leave
  all bounds are reported.
- Steps are scaled from outside; a program that changes its rate by itself is
  judged by its first 20 steps.
- If the inputs are above 10 in size, that is BD601.

References
----------
- LeCun, Bottou, Orr and Mueller (1998), Efficient BackProp, in Neural
  Networks: Tricks of the Trade, Springer, sections 4.7 and 5.
- Goodfellow, Bengio and Courville (2016), Deep Learning, MIT Press, section
  11.4.1: the learning rate.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import numpy as np

from backprop_doctor.adjoints import CATALOGUE
from backprop_doctor.case import Case, Sighting
from backprop_doctor.gradients import aligned, fit
from backprop_doctor.oracles.descent import Descent, descend
from backprop_doctor.oracles.units import spread
from backprop_doctor.records import Evidence
from backprop_doctor.roles import Parameter
from backprop_doctor.rules import non_differentiable_activation

SEVERITY = "warning"
LAST_RESORT = 1

TURNS = 20
SHORTER = (0.1, 0.01, 0.001, 0.0001)
LONGER = (100.0, 1e3, 1e4, 1e5)
LARGE_INPUT = 10.0
IN_ALL = 0.05
SHOWN = (1, 10, 100)
METRIC = "BD5"  # what is wrong there has no part in how far a step leads


def examine(case: Case) -> Iterator[Sighting]:
    """Right gradients, and a loss that climbs or stands still until the step is made shorter or longer."""
    batch = case.trace.value(case.roles.batch.birth)
    if any(not code.startswith(METRIC) for code in case.errors):
        return
    if not case.is_right or batch is None or np.abs(np.asarray(batch, np.float64)).max(initial=0) > LARGE_INPUT:
        return
    plain = descend(case, TURNS)
    if plain is None or (plain.climbed and next(non_differentiable_activation.examine(case), None)):
        return
    if plain.climbed:
        for pace in SHORTER:
            shorter = descend(case, TURNS, pace=pace)
            if shorter is not None and shorter.fell:
                yield _sighting(case, plain, shorter, pace, "too large", "the loss climbs")
                return
    turns = _turns(case)
    if turns is None or turns < TURNS or not plain.is_full_batch or not 0 <= plain.share_lost * turns / TURNS < IN_ALL:
        return
    for pace in LONGER:
        longer = descend(case, TURNS, pace=pace)
        if longer is not None and longer.fell and longer.share_lost > IN_ALL:
            yield _sighting(case, plain, longer, pace, "too small", f"{turns} steps will hardly change the loss")
            return


def _sighting(case: Case, plain: Descent, other: Descent, pace: float, kind: str, seen: str) -> Sighting:
    parameter = max(case.roles.parameters, key=lambda p: int(np.prod(p.shape, dtype=int)))
    factor = _over_mean(case, parameter)
    ratio = _update_ratio(case)
    course, better = descend(case, SHOWN[-1] + 1) or plain, descend(case, SHOWN[-1] + 1, pace=pace) or other
    rate = case.learning_rate
    named = f"{rate[0]} = {rate[1]:g}" if rate else "the step"
    summed = factor is not None and case.samples > 1 and abs(abs(factor) / case.samples - 1) < 0.01
    return Sighting(
        node=case.site(parameter.updates[-1]).node,
        message=f"{named} is {kind}: {seen}",
        label=f"{named} is {kind}",
        why=f"the gradients are right, and sums over {case.samples} samples: the step grows with their number"
        if summed
        else "the gradients are right; only their size times the rate does not fit",
        evidence=(
            Evidence(f"{plain.formula} {_steps(course)}", _losses(course), "falling"),
            Evidence(f"the same with steps {pace:g} times as long", _losses(better), "falling"),
            *_effective(case, parameter, factor),
            Evidence(f"first step of {parameter.name} against its size", f"{ratio:.2g}", "about 0.001 to 0.01"),
        ),
        fix=f"a rate about {pace:g} times as large",
    )


def _steps(descent: Descent) -> str:
    """After how many steps losses are shown."""
    *some, last = [str(k) for k in SHOWN if k < len(descent.losses)] or [str(len(descent.losses) - 1)]
    return f"before, and after {', '.join(some)}{' and ' if some else ''}{last} steps"


def _losses(descent: Descent) -> str:
    shown = [k for k in SHOWN if k < len(descent.losses)] or [len(descent.losses) - 1]
    return ", ".join(f"{descent.losses[k]:.3g}" for k in (0, *shown))


def _over_mean(case: Case, parameter: Parameter) -> float | None:
    """A gradient over that of the mean of a usual loss, where it is one of them."""
    gradient, target, meetings = case.gradient(parameter), case.judgement.target, case.roles.meetings
    value = None if gradient is None else aligned(case.value(gradient.value), parameter.shape)
    if value is None or target is None or len(meetings) != 1:
        return None
    output, tangents = meetings[0].output.birth, case.measurement.tangents(parameter.birth)
    analytic = np.array([float(np.sum(value * t.direction)) for t in tangents])
    for slope in CATALOGUE.values():
        usual = slope(np.asarray(case.value(output), np.float64), target)
        moved = [np.asarray(t.derivatives.get(output, np.nan), np.float64) for t in tangents]
        if usual is None or any(m.shape != usual.shape for m in moved):
            continue
        found = fit(analytic, np.array([float(np.sum(usual * m)) for m in moved]) / case.samples)
        if found.right:
            return found.factor
    return None


def _effective(case: Case, parameter: Parameter, factor: float | None) -> Iterator[Evidence]:
    """What the mean gradient is multiplied by in a step, which is the rate only if nothing else is."""
    gradient = case.gradient(parameter)
    before, after = case.live.value(parameter.birth), case.live.value(parameter.updates[-1])
    if gradient is None or not factor or np.shape(before) != np.shape(after):
        return
    value = aligned(case.live.value(gradient.value.birth), parameter.shape)
    step = None if value is None else fit((np.asarray(after) - before).ravel(), value.ravel())
    if step is not None and step.right:
        effective = abs(step.factor * factor)
        times = case.factor(abs(factor))
        rate = case.learning_rate
        expected = f"{rate[0]} = {rate[1]:g}" if rate else f"{abs(step.factor):.3g}"
        yield Evidence(
            f"step of {parameter.name} over the gradient of the mean loss",
            f"{effective:.3g}",
            expected if times == "1" else f"{expected}: the gradient is {times} times that of the mean",
        )


def _update_ratio(case: Case) -> float:
    parameter = max(case.roles.parameters, key=lambda p: int(np.prod(p.shape, dtype=int)))
    before, after = case.trace.value(parameter.birth), case.trace.value(parameter.updates[-1])
    if before is None or after is None or np.shape(before) != np.shape(after):
        return float("nan")
    return spread(np.asarray(after, np.float64) - before) / (spread(before) or 1.0)


def _turns(case: Case) -> int | None:
    """Turns of the training loop, where it runs over a range of known numbers."""
    loop = case.program.sites[case.roles.step.loop].node
    if case.roles.step.loop != case.roles.training.loop or not isinstance(loop, ast.For):
        return None
    call = loop.iter
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != "range":
        return None
    numbers = [case.number(argument) for argument in call.args]
    whole = [n for n in numbers if isinstance(n, int)]
    return len(range(*whole)) if whole and len(whole) == len(numbers) else None
