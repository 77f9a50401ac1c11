"""Checks the gradients of any function of arrays: a number out, arrays in dicts, lists or tuples in."""

from __future__ import annotations

import inspect
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.errors import UsageError
from backprop_doctor.gradient_report import GradientReport, GradientVerdict
from backprop_doctor.judging import LIMIT_RELATIVE, Judge
from backprop_doctor.slopes import Function, Numeric
from backprop_doctor.structures import Leaf, Places, as_array, has_numbers, leaves, partner

__all__ = ["Randomness", "gradcheck", "known_sizes"]

Array = NDArray[np.float64]

NUDGE_RELATIVE = 1e-2
ROUNDING = 100.0  # times the spacing of floats: two runs that differ by less only add in another order


def gradcheck(
    loss: Callable[..., Any],
    params: Any,
    grads: Any = None,
    *,
    limit: float = LIMIT_RELATIVE,
    sizes: Mapping[str, int] | None = None,
    seed: int = 0,
) -> GradientReport:
    """Check gradients against finite differences.

    Parameters
    ----------
    loss : function
        ``loss(params)`` or ``loss()``, giving a number, or a tuple ``(number, grads, ...)``.  It is called with
        float64 values in the places of the parameters; a function without arguments has to read ``params``
        itself, where they are exchanged.
    params : array, number, dict, list or tuple
        What the loss depends on, nested as you like: numpy arrays, tensors, anything with ``__array__``.
        As they were, bit for bit, when this returns.
    grads : array, dict, list, tuple or function, optional
        The gradients, under the same keys or in the same order, or a function like ``loss`` that returns them.
        By default those that ``loss`` returns beside the number.
    limit : float
        Relative error up to which a gradient is right; from 50 times as much it is wrong.
    sizes : mapping of str to int, optional
        What factors may be made of, such as ``{"N": 97}``, besides the sizes of arrays that ``loss`` reads.
    seed : int
        Chooses the directions.

    Returns
    -------
    GradientReport
        A verdict for each parameter; true if all are right.  ``.check()`` raises `AssertionError` otherwise.

    Raises
    ------
    UsageError
        If there is nothing to check, a parameter or the loss is complex, or the loss is no number.

    Notes
    -----
    Verdicts are relative: a loss of 1e-8 is judged like one of 1.  Tensors of up to 64 entries are
    differentiated entry by entry, larger ones along random directions, and entry by entry where they fail.
    Steps are extrapolated, the noise of the loss is measured, a kink is told by the slopes on its two sides.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([0.5, -1.0, 2.0])
    >>> gradcheck(lambda x: np.sum(x**2), x, 2 * x).passed
    True
    >>> gradcheck(lambda x: np.sum(x**2), x, x)["x"].factor
    '1/2'
    """
    found = _parameters(params, _argument_name(loss))
    places, randomness = Places(params, found), Randomness()
    try:
        return _Check(
            loss, params, grads, found, places, randomness, limit, known_sizes(loss, found, sizes), seed
        ).run()
    finally:
        places.restore()
        randomness.rewind()


class _Check:
    """One call of `gradcheck`."""

    def __init__(
        self,
        loss: Callable[..., Any],
        params: Any,
        grads: Any,
        found: list[Leaf],
        places: Places,
        randomness: Randomness,
        limit: float,
        sizes: dict[str, int],
        seed: int,
    ) -> None:
        self.loss, self.params, self.grads = loss, params, grads
        self.found, self.places = found, places
        self.limit, self.sizes, self.seed = limit, sizes, seed
        self.in_memory: frozenset[int] = frozenset()
        self.randomness = randomness
        self.call = _caller(loss)
        self.random = True
        self.remarks: list[str] = []

    def run(self) -> GradientReport:
        start = [as_array(leaf.value).astype(np.float64) for leaf in self.found]
        value, returned = self._result(start)
        if not np.isfinite(value):
            return self._report([self._unknown(leaf, f"the loss is {value} here") for leaf in self.found], value, 1)
        trouble = self._repeatable(start, value)
        if trouble:
            return self._report([self._unknown(leaf, trouble, "random") for leaf in self.found], value, 3)
        start, claims = self._claimed(start, self._claims(start, returned))
        self.remarks += _promotions(self.found)
        self._find_memory(start, value)
        report = self._judged(start, claims)
        if any(verdict.kind == "kink" for verdict in report.verdicts) and self._computes_gradients:
            report = self._off_the_kink(start, report)
        return report

    # -- the stages ------------------------------------------------------------------------------------------

    def _claimed(self, point: list[Array], claims: list[Any]) -> tuple[list[Array], list[Any]]:
        """Leave out whole numbers and plain numbers without a gradient: sizes, labels and settings, no parameters."""
        kept = [
            i
            for i, (leaf, claim) in enumerate(zip(self.found, claims, strict=True))
            if claim is not None or (leaf.array.dtype.kind == "f" and hasattr(leaf.value, "__array__"))
        ]
        if len(kept) < len(self.found):
            self.places.restore()
            self.found = [self.found[i] for i in kept]
            self.places = Places(self.params, self.found)
        return [point[i] for i in kept], [claims[i] for i in kept]

    def _judged(self, point: list[Array], claims: list[Any]) -> GradientReport:
        epsilon = (
            float(np.finfo(np.float32).eps) if self.in_memory and self._single else float(np.finfo(np.float64).eps)
        )
        numeric = Numeric(Function(lambda values: self._result(values)[0], epsilon), point, seed=self.seed)
        judge = Judge(numeric, limit=self.limit, sizes=self.sizes)
        verdicts = []
        for index, (leaf, claim) in enumerate(zip(self.found, claims, strict=True)):
            if claim is None:
                verdicts.append(self._unknown(leaf, "no gradient was given for it", "missing"))
            else:
                verdicts.append(judge.verdict(index, claim, leaf.name))
        return self._report(verdicts, numeric.value, numeric.evaluations)

    def _off_the_kink(self, start: list[Array], report: GradientReport) -> GradientReport:
        """Gradients at a kink are judged a little beside it, where they can be computed there."""
        generator = np.random.default_rng([self.seed, 17])
        point = []
        for values in start:
            size = float(np.sqrt(np.mean(np.square(values)))) or 1.0 if values.size else 1.0
            point.append(values + NUDGE_RELATIVE * size * generator.standard_normal(values.shape))
        value, returned = self._result(point)
        if not np.isfinite(value):
            return report
        beside = self._judged(point, self._claims(point, returned))
        verdicts = tuple(
            there if here.kind == "kink" else here for here, there in zip(report.verdicts, beside.verdicts, strict=True)
        )
        remark = f"the loss has a kink at the given parameters: judged at a point {NUDGE_RELATIVE:.0%} beside it"
        evaluations = report.evaluations + beside.evaluations
        return replace(report, verdicts=verdicts, remarks=(*report.remarks, remark), evaluations=evaluations)

    def _repeatable(self, point: list[Array], value: float) -> str:
        """Why two undisturbed runs differ, or nothing; what the global generators draw is drawn again."""
        again, _ = self._result(point)
        if abs(again - value) > ROUNDING * np.finfo(np.float64).eps * max(abs(value), abs(again)):
            return (
                f"two undisturbed runs differ: the loss is {value:.17g}, then {again:.17g}; it draws random numbers "
                "or changes what it reads; seed its generator in each call"
            )
        other, _ = self._result(point, frozen=False)
        if abs(other - value) <= ROUNDING * np.finfo(np.float64).eps * max(abs(value), abs(other)):
            self.random = False
            return ""
        if not self._computes_gradients:
            return (
                f"the loss draws random numbers (it is {value:.6g}, then {other:.6g}), and the gradients were computed "
                "with others; hand over a function that returns them"
            )
        self.remarks.append("the loss draws from a global generator: the same numbers are drawn in every call")
        return ""

    def _find_memory(self, point: list[Array], value: float) -> None:
        """Which parameters the loss reads under another name, so that the array itself has to be changed."""
        generator = np.random.default_rng([self.seed, 3])
        for index, values in enumerate(point):
            size = float(np.sqrt(np.mean(np.square(values)))) or 1.0 if values.size else 1.0
            moved = list(point)
            moved[index] = values + 0.1 * size * generator.standard_normal(values.shape)
            with np.errstate(all="ignore"):
                if self._result(moved)[0] != value or not self.places.writable(index):
                    continue
                before, self.in_memory = self.in_memory, self.in_memory | {index}
                if self._result(moved)[0] == value:
                    self.places.fill(point, self.in_memory)
                    self.in_memory = before
        if self.in_memory and self._single:
            self.remarks.append("the loss reads the float32 arrays themselves: it is as exact as they are")

    def _claims(self, point: list[Array], returned: Any) -> list[Any]:
        """The gradient that is claimed for each parameter, or None."""
        given = self.grads
        if callable(given):
            argument = self.places.fill(point, self.in_memory)
            self.randomness.rewind()
            given = _caller(given)(argument)
        elif given is None:
            given = returned
        if given is None:
            raise UsageError("there are no gradients: pass grads, or let the loss return (number, grads)")
        claims, surplus = _paired(self.found, given)
        missing = [leaf.name for leaf, claim in zip(self.found, claims, strict=True) if claim is None]
        if missing and surplus:
            remark = f"grads also holds {', '.join(surplus)}, which fits no parameter"
            self.remarks += [remark] if remark not in self.remarks else []
        return claims

    @property
    def _computes_gradients(self) -> bool:
        return self.grads is None or callable(self.grads)

    @property
    def _single(self) -> bool:
        return any(as_array(self.found[i].value).dtype.itemsize < 8 for i in self.in_memory)

    def _result(self, values: list[Array], *, frozen: bool = True) -> tuple[float, Any]:
        """The loss, and what it returns beside it."""
        argument = self.places.fill(values, self.in_memory)
        if frozen and self.random:
            self.randomness.rewind()
        result = self.call(argument)
        if isinstance(result, (tuple, list)) and len(result) >= 2:
            return _number(result[0]), result[1]
        return _number(result), None

    def _unknown(self, leaf: Leaf, reason: str, kind: str = "not finite") -> GradientVerdict:
        return GradientVerdict(leaf.name, "unknown", kind, reason, as_array(leaf.value).shape)

    def _report(self, verdicts: list[GradientVerdict], value: float, evaluations: int) -> GradientReport:
        subject = getattr(self.loss, "__qualname__", type(self.loss).__name__).rpartition("<locals>.")[2]
        subject = "loss" if subject == "<lambda>" else subject
        return GradientReport(subject, tuple(verdicts), value, evaluations, self.seed, tuple(self.remarks))


class Randomness:
    """The global generators as they are now, so that every call of a function draws the same numbers."""

    def __init__(self) -> None:
        self._numpy = np.random.get_state()
        self._python = random.getstate()
        torch = sys.modules.get("torch")
        self._torch = None if torch is None else torch.get_rng_state()

    def rewind(self) -> None:
        """Put the generators back to where they were."""
        np.random.set_state(self._numpy)
        random.setstate(self._python)
        if self._torch is not None:
            sys.modules["torch"].set_rng_state(self._torch)


def known_sizes(function: Any, found: list[Leaf], given: Mapping[str, int] | None) -> dict[str, int]:
    """Sizes that a factor may be made of, by how a reader would write them: ``len(X)``, ``X.shape[1]``.

    Those that were given come first, then the axes of arrays that the function reads, then those of the
    parameters.
    """
    sizes = dict(given or {})
    arrays = {name: value for name, value in _variables(function, depth=2).items() if has_numbers(value)}
    arrays |= {leaf.name: leaf.value for leaf in found}
    for name, value in arrays.items():
        for axis, size in enumerate(as_array(value).shape):
            sizes.setdefault(f"len({name})" if axis == 0 else f"{name}.shape[{axis}]", size)
    return sizes


def _variables(function: Any, depth: int) -> dict[str, Any]:
    """What a function, and the functions that it calls by name, read from outside."""
    try:
        read = inspect.getclosurevars(function)
    except TypeError:  # no Python function
        return {}
    variables = {**read.globals, **read.nonlocals}
    if depth:
        for value in list(variables.values()):
            if inspect.isfunction(value):
                variables = {**_variables(value, depth - 1), **variables}
    return variables


def _parameters(params: Any, root: str) -> list[Leaf]:
    found = []
    for leaf in leaves(params, root):
        kind = leaf.array.dtype.kind
        if kind == "c":
            raise UsageError(
                f"{leaf.name} is {leaf.array.dtype}: only real parameters are checked; pass real and imaginary part "
                "as two arrays"
            )
        found.append(leaf)
    if not found:
        raise UsageError("there are no parameters: nothing in params holds numbers")
    return found


def _promotions(found: list[Leaf]) -> list[str]:
    remarks = []
    for leaf in found:
        dtype = leaf.array.dtype
        if dtype.kind in "iu" and hasattr(leaf.value, "__array__"):
            remarks.append(f"{leaf.name} is {dtype}: checked as float64, for whole numbers have no small changes")
    return remarks


def _paired(found: list[Leaf], given: Any) -> tuple[list[Any], list[str]]:
    """The gradient of each parameter: under its key, under a key that contains it, or at its position."""
    if len(found) == 1 and not found[0].keys:
        items = list(leaves(given, "grads"))
        return ([items[0].value] if len(items) == 1 else [given if has_numbers(given) else None]), []
    claims = [partner(given, leaf.keys) for leaf in found]
    claims = [claim if claim is not None and has_numbers(claim) else None for claim in claims]
    if all(claim is not None for claim in claims):
        return claims, []
    others = [leaf for leaf in leaves(given, "grads") if not any(leaf.value is claim for claim in claims)]
    if all(claim is None for claim in claims) and len(others) == len(found) and not isinstance(given, Mapping):
        return [leaf.value for leaf in others], []
    for index, leaf in enumerate(found):
        if claims[index] is None:
            hints = sorted((o for o in others if _contains(o.name, leaf.name)), key=lambda other: len(other.name))
            if hints:
                claims[index] = hints[0].value
                others.remove(hints[0])
    return claims, [leaf.name for leaf in others]


def _contains(name: str, part: str) -> bool:
    """Whether a key such as ``dW1`` or ``W1_grad`` is made of another one."""
    before, found, after = name.partition(part)
    return bool(found) and not (after[:1].isalnum() or (before[-1:].isdigit()))


def _caller(function: Callable[..., Any]) -> Callable[[Any], Any]:
    """The function as one of the structure, which those without arguments read by themselves."""
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return lambda argument: function()
    except ValueError:  # no signature is known
        pass
    return function


def _argument_name(function: Callable[..., Any]) -> str:
    try:
        return next(iter(inspect.signature(function).parameters), "params")
    except (TypeError, ValueError):
        return "params"


def _number(value: Any) -> float:
    array = as_array(value)
    if array.dtype.kind == "c":
        raise UsageError(
            f"the loss is {array.dtype}: only real functions are checked; take its real part or its modulus"
        )
    if array.dtype.kind not in "fiub":
        raise UsageError(f"the loss is a {type(value).__name__}, not a number")
    if array.size != 1:
        raise UsageError(f"the loss has shape {array.shape}, not one number: sum or average it")
    return float(array.reshape(()))
