"""Layers: how their forward and backward passes are called, and where gradients may be found afterwards."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backprop_doctor.attributes import Place, arrays, cloned, is_float, put, spelled
from backprop_doctor.errors import UsageError
from backprop_doctor.gradient_check import Randomness
from backprop_doctor.structures import as_array, has_numbers

__all__ = [
    "Candidate",
    "Convention",
    "Functions",
    "Passes",
    "Run",
    "open_layer",
    "outputs_of",
    "required",
    "returned_arrays",
]

Array = NDArray[np.float64]

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
RATE = 0.125  # what a backward pass gets for a learning rate


@dataclass
class Run:
    """A forward pass that was run: what it got, gave, and left behind."""

    inputs: tuple[Any, ...]
    result: Any
    layer: Any = None
    before: dict[Place, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Convention:
    """A way of calling the backward pass; ``outputs`` upstream gradients are handed over, or none."""

    text: str
    outputs: int
    call: Callable[[Run, list[Any]], Any]
    upstream: bool = True
    rate: float | None = None


@dataclass(frozen=True)
class Candidate:
    """A value that may be a gradient, and where it was found; ``order`` counts returned values."""

    text: str
    value: Array
    order: int | None = None
    place: tuple[Any, ...] | None = None


class Passes(Protocol):
    """What can be asked of either kind of layer."""

    subject: str
    names: list[str]
    point: list[Array]
    inputs: list[int]

    arguments: Arguments

    def run(self, values: list[Array]) -> Run:
        """The forward pass, with these values for what is differentiated."""

    def conventions(self, run: Run) -> Iterator[Convention]:
        """Ways in which the backward pass may want to be called, the likeliest first."""

    def candidates(self, run: Run, returned: Any, convention: Convention) -> list[Candidate]:
        """What may be a gradient once the backward pass has run."""


class Arguments:
    """The arguments of a forward pass: those that are differentiated, and the others."""

    def __init__(self, forward: Any, inputs: tuple[Any, ...], keywords: dict[str, Any], randomness: Randomness) -> None:
        self.forward = forward
        self.given = inputs
        self.keywords = keywords
        self.randomness = randomness
        self.changed: set[str] = set()
        names = _argument_names(forward, len(inputs))
        self.moved = [i for i, value in enumerate(inputs) if is_float(value)]
        self.names = [names[i] for i in self.moved]
        self.point = [as_array(inputs[i]).astype(np.float64) for i in self.moved]

    def call(self, forward: Any, values: list[Array]) -> tuple[tuple[Any, ...], Any]:
        """Run with copies of everything, so that no call can disturb another."""
        inputs = [copy.deepcopy(value) if i not in self.moved else value for i, value in enumerate(self.given)]
        for i, value in zip(self.moved, values, strict=True):
            inputs[i] = value.copy()
        self.randomness.rewind()
        result = forward(*inputs, **copy.deepcopy(self.keywords))
        for name, i, value in zip(self.names, self.moved, values, strict=True):
            if not np.array_equal(inputs[i], value, equal_nan=True):
                self.changed.add(name)
        return tuple(inputs), result

    @property
    def has_labels(self) -> bool:
        """Whether an array is not differentiated, beside others that are."""
        return bool(self.moved) and any(
            i not in self.moved and np.ndim(value) > 0 for i, value in enumerate(self.given)
        )

    def remarks(self) -> Iterator[str]:
        """What the user should know of the forward pass."""
        for name in sorted(self.changed):
            yield f"the forward pass changes {name} in place"


class Functions:
    """A forward and a backward function."""

    def __init__(self, forward: Any, backward: Any, arguments: Arguments) -> None:
        self.backward = backward
        self.arguments = arguments
        self.subject = f"{_called(forward)} and {_called(backward)}"
        self.names, self.point = list(arguments.names), list(arguments.point)
        self.inputs = list(range(len(self.names)))

    def run(self, values: list[Array]) -> Run:
        """The forward pass, with these values for what is differentiated."""
        return Run(*self.arguments.call(self.arguments.forward, values))

    def conventions(self, run: Run) -> Iterator[Convention]:
        """Ways in which the backward pass may want to be called, the likeliest first."""
        backward, result = self.backward, run.result
        if isinstance(result, (tuple, list)) and len(result) >= 2:
            outputs = len(result) - 1
            if all(is_float(value) for value in result[:-1]):
                yield Convention("backward(dout, cache)", outputs, lambda r, u: backward(*u, r.result[-1]))
            if outputs > 1 or not is_float(result[0]):
                yield Convention("backward(dout, *caches)", 1, lambda r, u: backward(*u, *r.result[1:]))
                yield Convention("backward(dout, caches)", 1, lambda r, u: backward(*u, tuple(r.result[1:])))
                yield Convention("backward(dout, cache)", 1, lambda r, u: backward(*u, r.result[1]))
            yield from self._by_name(outputs)
            yield Convention("backward(cache, dout)", outputs, lambda r, u: backward(r.result[-1], *u))
            yield Convention("backward(cache)", 1, lambda r, u: backward(r.result[-1]), upstream=False)
            return
        pointwise = list(_pointwise(backward)) if np.ndim(result) > 0 else []
        alone = len(self.arguments.given) == 1 == len(required(backward)) and not _is_homogeneous(
            backward, run.inputs[0]
        )
        silent = Convention("backward(*inputs)", 1, lambda r, u: backward(*r.inputs), upstream=False)
        is_loss = self.arguments.has_labels and len(required(backward)) == len(run.inputs)
        if alone:
            yield from pointwise
        if is_loss:
            yield silent
        yield Convention("backward(dout, *inputs)", 1, lambda r, u: backward(*u, *r.inputs))
        yield Convention("backward(*inputs, dout)", 1, lambda r, u: backward(*r.inputs, *u))
        yield Convention("backward(dout, output)", 1, lambda r, u: backward(*u, r.result))
        yield Convention("backward(output, dout)", 1, lambda r, u: backward(r.result, *u))
        yield Convention("backward(dout)", 1, lambda r, u: backward(*u))
        if not is_loss:
            yield silent
        if not alone:
            yield from pointwise

    def _by_name(self, outputs: int) -> Iterator[Convention]:
        """What is called like an argument of the forward pass is that argument: a setting, or labels."""
        names = _argument_names(self.arguments.forward, len(self.arguments.given))
        wanted = required(self.backward)
        free = [name for name in wanted if name not in names]
        if len(free) == len(wanted) or len(free) not in (1, 2):
            return

        def call(run: Run, upstream: list[Any]) -> Any:
            others = iter([*upstream[: len(free) - 1], run.result[-1]])
            return self.backward(*[run.inputs[names.index(n)] if n in names else next(others) for n in wanted])

        if len(free) == 2:
            yield Convention(f"backward({', '.join(wanted)})", 1, call)
        elif outputs == 1:
            yield Convention(f"backward({', '.join(wanted)})", 1, call, upstream=False)

    def candidates(self, run: Run, returned: Any, convention: Convention) -> list[Candidate]:
        """What may be a gradient once the backward pass has run."""
        return list(returned_arrays(_whole(returned, self.point)))


class Methods:
    """An object with methods for both passes; each run has a copy of it."""

    def __init__(self, layer: Any, forward: str, backward: str, arguments: Arguments) -> None:
        self.forward, self.backward = forward, backward
        self.arguments = arguments
        self.subject = type(layer).__name__
        self.layer, self.untouched = cloned(layer), cloned(layer)
        self.inputs = list(range(len(arguments.names)))
        self.places: list[tuple[Any, ...]] = []
        self.names, self.point = list(arguments.names), list(arguments.point)
        # Some layers make their parameters when they see the first input.
        self.is_late = not any(True for _ in arrays(layer))
        if self.is_late:
            self.arguments.call(getattr(self.layer, forward), self.point)
        self._find_parameters()
        if self.is_late and not self.places:
            self.layer, self.is_late = cloned(layer), False

    def run(self, values: list[Array]) -> Run:
        """The forward pass, with these values for what is differentiated."""
        layer = cloned(self.layer)
        if self.is_late:
            # It may remember that input, and go back from it: let it be this one.
            layer = cloned(self.untouched)
            self.arguments.call(getattr(layer, self.forward), values[: len(self.inputs)])
        for place, value in zip(self.places, values[len(self.inputs) :], strict=True):
            put(layer, place, value)
        inputs, result = self._forward(layer, values[: len(self.inputs)])
        return Run(inputs, result, layer, {place: np.array(value) for place, value in arrays(layer)})

    def _forward(self, layer: Any, values: list[Array]) -> tuple[tuple[Any, ...], Any]:
        """Inputs and output; of a pass that returns nothing, the last array that it leaves behind."""
        inputs, result = self.arguments.call(getattr(layer, self.forward), values)
        if result is not None:
            return inputs, result
        left = [array for place, array in arrays(layer) if place not in self.places]
        own = [array for array in left if not any(np.array_equal(array, value) for value in values)]
        return inputs, own[-1] if own else None

    def conventions(self, run: Run) -> Iterator[Convention]:
        """Ways in which the backward pass may want to be called, the likeliest first."""
        name = self.backward
        outputs = len(outputs_of(run.result))

        def backward(run: Run, *arguments: Any) -> Any:
            return getattr(run.layer, name)(*arguments)

        def derivative(*values: Any) -> Any:
            # Of an object that has seen nothing: what needs a forward pass before is no plain derivative.
            return getattr(cloned(self.untouched), name)(*values)

        alone = len(self.arguments.given) == 1 == len(required(getattr(self.layer, name)))
        if alone and np.ndim(run.result) > 0 and not _is_homogeneous(derivative, run.inputs[0]):
            yield from _pointwise(derivative)

        silent = [
            Convention("backward()", outputs, lambda r, u: backward(r), upstream=False),
            Convention("backward(*inputs)", outputs, lambda r, u: backward(r, *r.inputs), upstream=False),
        ]
        is_loss = self.arguments.has_labels and len(required(getattr(self.layer, name))) in (0, len(run.inputs))
        if is_loss:
            yield from silent
            yield from self._from_the_output(run)
        yield Convention("backward(dout)", outputs, lambda r, u: backward(r, *u))
        for rates in (1, 2):
            yield Convention(
                f"backward(dout, {', '.join([f'{RATE:g}'] * rates)})",
                outputs,
                lambda r, u, rates=rates: backward(r, *u, *[RATE] * rates),  # type: ignore[misc]
                rate=RATE,
            )
        yield Convention("backward(dout, *inputs)", outputs, lambda r, u: backward(r, *u, *r.inputs))
        yield Convention("backward(*inputs, dout)", outputs, lambda r, u: backward(r, *r.inputs, *u))
        if len(run.inputs) > 1:
            # What comes after the first, such as a mode or a rate of dropout, the way back need not know.
            yield Convention("backward(input, dout)", outputs, lambda r, u: backward(r, r.inputs[0], *u))
            yield Convention("backward(dout, input)", outputs, lambda r, u: backward(r, *u, r.inputs[0]))
        if not is_loss:
            yield from silent

    def _from_the_output(self, run: Run) -> Iterator[Convention]:
        """A loss that has its output layer in it may go back from the probabilities that its forward pass left."""
        first = self.arguments.moved[0]
        for place, value in arrays(run.layer):
            if np.shape(value) != np.shape(run.inputs[first]) or np.array_equal(value, run.inputs[first]):
                continue

            def call(run: Run, upstream: list[Any], place: Place = place) -> Any:
                left = dict(arrays(run.layer))[place].copy()
                given = [left if i == first else value for i, value in enumerate(run.inputs)]
                return getattr(run.layer, self.backward)(*given)

            yield Convention(f"backward({spelled(place)}, ...)", 1, call, upstream=False)

    def candidates(self, run: Run, returned: Any, convention: Convention) -> list[Candidate]:
        """What may be a gradient once the backward pass has run."""
        found = list(returned_arrays(_whole(returned, self.point)))
        for place, value in arrays(run.layer):
            before, text = run.before.get(place), spelled(place)
            if place in self.places:
                if before is not None and before.shape == value.shape and not np.array_equal(before, value):
                    rate = convention.rate or 1.0
                    found.append(Candidate(f"the step of {text}", (before - value) / rate, place=place))
                continue
            if before is None or before.shape != value.shape:
                found.append(Candidate(text, np.array(value), place=place))
            elif not np.array_equal(before, value, equal_nan=True):
                found.append(Candidate(text, np.array(value), place=place))
                if np.any(before):
                    found.append(Candidate(f"what is added to {text}", value - before, place=place))
        return found

    def _find_parameters(self) -> None:
        """Arrays that the output depends on when they are changed before the forward pass."""
        generator = np.random.default_rng(0)
        values = self.arguments.point
        plain = outputs_of(self._forward(cloned(self.layer), values)[1])
        for place, array in list(arrays(self.layer)):
            size = float(np.sqrt(np.mean(np.square(array)))) or 1.0
            layer = cloned(self.layer)
            put(layer, place, array + 0.1 * size * generator.standard_normal(array.shape))
            with np.errstate(all="ignore"):
                try:
                    changed = outputs_of(self._forward(layer, values)[1])
                except Exception:  # what is no parameter need not survive being changed
                    continue
            if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(plain, changed, strict=False)):
                self.places.append(place)
                self.names.append(spelled(place))
                self.point.append(array.astype(np.float64))


def open_layer(layer: Any, inputs: tuple[Any, ...], keywords: dict[str, Any], randomness: Randomness) -> Passes:
    """Both passes of what a user calls a layer.

    Raises
    ------
    UsageError
        If it has no forward or no backward pass.
    """
    if isinstance(layer, type):
        raise UsageError(f"{layer.__name__} is a class: pass one of its objects, {layer.__name__}(...)")
    if isinstance(layer, (tuple, list)):
        if len(layer) != 2 or not all(map(callable, layer)):
            raise UsageError("a layer is a pair (forward, backward) of functions, or an object with both")
        forward, backward = layer
        owner = getattr(forward, "__self__", None)
        arguments = Arguments(forward, inputs, keywords, randomness)
        if owner is not None and not inspect.ismodule(owner) and owner is getattr(backward, "__self__", None):
            return Methods(owner, forward.__name__, backward.__name__, arguments)
        return Functions(forward, backward, arguments)
    name = "forward" if callable(getattr(layer, "forward", None)) else "__call__"
    for wanted in (name, "backward"):
        if not callable(getattr(layer, wanted, None)):
            what = "forward" if wanted == "__call__" else wanted
            raise UsageError(
                f"{type(layer).__name__} has no method {what}; pass a pair of its methods, (layer.one, layer.other)"
            )
    return Methods(layer, name, "backward", Arguments(getattr(layer, name), inputs, keywords, randomness))


def outputs_of(result: Any) -> list[Array]:
    """The arrays that a forward pass gives, without its cache."""
    if isinstance(result, (tuple, list)) and not has_numbers(result):
        arrays = []
        for value in result[: max(1, len(result) - 1)] if isinstance(result, tuple) else result:
            if not is_float(value):
                break
            arrays.append(as_array(value).astype(np.float64))
        return arrays
    return [as_array(result).astype(np.float64)] if has_numbers(result) else []


def _whole(returned: Any, points: list[Array]) -> Any:
    """A list as one array, where it holds a number of numpy, or a row, for each one of what is differentiated."""
    if isinstance(returned, list) and returned and not has_numbers(returned):
        with contextlib.suppress(TypeError, ValueError):
            array = np.asarray(returned, np.float64)
            for point in points:
                alike = [n for n in array.shape if n != 1] == [n for n in point.shape if n != 1]
                if point.ndim and alike and len(array) == len(point):
                    return array.reshape(point.shape)
    return returned


def returned_arrays(value: Any) -> Iterator[Candidate]:
    """The arrays that a backward pass returned, in their order."""
    items = list(_flat(value))
    for number, item in enumerate(items):
        text = "the returned value" if len(items) == 1 else f"returned value {number + 1}"
        if item is not None and has_numbers(item) and as_array(item).dtype.kind in "fiu":
            yield Candidate(text, as_array(item).astype(np.float64), order=number)


def _flat(value: Any) -> Iterator[Any]:
    if has_numbers(value):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _flat(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _flat(item)
    else:
        yield None


def required(function: Any) -> list[str]:
    """Names of the arguments that have to be given, without ``self``."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.kind in POSITIONAL and p.default is p.empty]


def _is_homogeneous(backward: Callable[..., Any], value: Any) -> bool:
    """Whether twice as much in gives twice as much out, as of a backward pass; that of an object may need its state."""
    try:
        once, twice = backward(value), backward(2.0 * np.asarray(value))
        return bool(np.allclose(np.asarray(twice), 2.0 * np.asarray(once), rtol=1e-9))
    except Exception:  # whatever it is, it is no function of that alone
        return True


def _pointwise(derivative_of: Callable[..., Any]) -> Iterator[Convention]:
    """Derivatives of functions that act on each entry, by the input or by the output."""

    def times(run: Run, upstream: list[Any], values: Any) -> Any:
        derivative = derivative_of(*values)
        if np.shape(derivative) != np.shape(run.inputs[0]):
            raise ValueError("an elementwise derivative has the shape of the input")
        return upstream[0] * np.asarray(derivative)

    yield Convention("dout * backward(*inputs)", 1, lambda r, u: times(r, u, r.inputs))
    yield Convention("dout * backward(output)", 1, lambda r, u: times(r, u, [r.result]))


def _argument_names(function: Any, number: int) -> list[str]:
    names: list[str] = []
    with contextlib.suppress(TypeError, ValueError):
        names = [p.name for p in inspect.signature(function).parameters.values() if p.kind in POSITIONAL]
    return [names[i] if i < len(names) else f"input {i + 1}" for i in range(number)]


def _called(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
