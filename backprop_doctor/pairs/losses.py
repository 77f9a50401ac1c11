"""Ways of calling what gives a loss and its gradients: a function, the method of a network, or two of them."""

from __future__ import annotations

import ast
import contextlib
import inspect
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backprop_doctor.errors import UsageError
from backprop_doctor.gradient_check import gradcheck
from backprop_doctor.gradient_report import GradientReport, GradientVerdict
from backprop_doctor.pairs.anchors import anchor, target_of
from backprop_doctor.pairs.calling import NO_ARGUMENTS, best_way, copies, is_about_samples, reached, sizes_of
from backprop_doctor.pairs.definitions import PROBLEMS, Definitions, arguments_of, code_of, needed
from backprop_doctor.pairs.fillings import (
    LABELS,
    ONE_HOT,
    Value,
    fillings,
    fresh,
    is_label,
    is_unlike_data,
    makings,
    networks,
    spelled,
)
from backprop_doctor.pairs.partners import Pair
from backprop_doctor.pairs.ways import Way, is_better
from backprop_doctor.structures import Leaf, as_array, has_numbers, leaves

__all__ = ["loss_way", "network_way", "numbered_weights", "weights_way"]

SECONDS_EACH = 1.5
UNMATCHED = "it returns a number and arrays, but none of them is of the shape of what it was given"


def loss_way(function: Any, defined: Definitions, *, seed: int, until: float) -> Way | str:
    """A function of data and labels that returns a number and its gradients."""
    names = needed(function)
    if not 2 <= len(names) <= 6:
        return ""
    caller = _Loss(function, names, defined, seed)
    found = best_way(fillings(names), names, [function], caller.attempt, seed=seed, until=until)
    return found if isinstance(found, Way) else UNMATCHED if caller.looks_like_one else ""


@dataclass
class _Loss:
    """Calls a function in one way after the other."""

    function: Any
    names: list[str]
    defined: Definitions
    seed: int
    looks_like_one: bool = False

    def attempt(self, values: tuple[Value, ...], given: list[Any]) -> Way | None:
        """One way of calling it; raises what the program raises."""
        labels = [i for i, value in enumerate(values) if value.is_labels]
        if len(labels) != 1 or not is_label(self.names[labels[0]]):
            return None
        result = _parts(self.function(*copies(given)))
        number = _number(result)
        if number is None or len(result) < 2 or not is_about_samples(lambda *v: self._value(v, number), given, values):
            return None
        other = copies(given)
        other[labels[0]] = np.roll(other[labels[0]], 1, axis=int(np.argmax(np.shape(other[labels[0]]))))
        turned = _parts(self.function(*copies(other)))
        if np.array_equal(as_array(turned[number].value), as_array(result[number].value)):
            return None
        return self._judged(values, given, result, turned, number)

    def _value(self, given: Sequence[Any], number: int) -> Any:
        return as_array(_parts(self.function(*copies(given)))[number].value).reshape(())

    def _judged(
        self, values: tuple[Value, ...], given: list[Any], result: list[Leaf], turned: list[Leaf], number: int
    ) -> Way | None:
        verdicts: list[GradientVerdict] = []
        claims: dict[str, str] = {}
        sure = True
        free = [i for i, value in enumerate(values) if value.kind in ("array", "number")]
        for part, leaf in enumerate(result):
            if part == number:
                continue
            claim = str(leaf.keys[-1]) if isinstance(leaf.keys[-1], str) else f"returned value {leaf.keys[-1] + 1}"
            is_called = self._is_called_gradient(claim)
            self.looks_like_one = self.looks_like_one or is_called
            index = self._argument(leaf, free, values)
            if index is None:
                continue
            if not is_called and np.array_equal(as_array(turned[part].value), as_array(leaf.value)):
                continue  # what does not depend on the labels is no gradient of a loss: the output, perhaps
            free.remove(index)
            claims[self.names[index]] = claim
            verdicts.append(self._verdict(values, given, index, part, number))
            sure = sure and is_called
        if not verdicts:
            return None
        words = f"{self.function.__name__}({', '.join(map(spelled, self.names, given, values))})"
        report = GradientReport(self.function.__name__, tuple(verdicts), 0.0, 0, self.seed)
        return Way(
            tuple(self.names), values, report, words, self.function.__name__, code_of(self.function), claims,
            is_loss=True, sure=sure, misfits=len([i for i in free if is_unlike_data(self.names[i])]),
        )  # fmt: skip

    def _verdict(
        self, values: tuple[Value, ...], given: list[Any], index: int, part: int, number: int
    ) -> GradientVerdict:
        def loss(moved: Any) -> tuple[Any, Any]:
            arguments = copies(given)
            arguments[index] = moved
            parts = _parts(self.function(*arguments))
            return as_array(parts[number].value).reshape(()), parts[part].value

        start = copies(given)[index]
        report = gradcheck(loss, start, sizes=sizes_of(self.names, given), seed=self.seed)
        return replace(report.verdicts[0], name=self.names[index])

    def _argument(self, leaf: Leaf, free: list[int], values: Sequence[Value]) -> int | None:
        """The argument of which a value may be the gradient: by its key, else by its shape."""
        shape = np.shape(leaf.value)
        key = leaf.keys[-1]
        named = [i for i in free if isinstance(key, str) and _stem(key) == self.names[i].lower()]
        shaped = [i for i in free if values[i].shape == shape and (shape or isinstance(key, str))]
        return next(iter([*named, *([] if isinstance(key, str) else shaped)]), None)

    def _is_called_gradient(self, claim: str) -> bool:
        """Whether the author calls a returned value a gradient: it may as well be the output, or probabilities."""
        node = self.defined.syntax(self.function)
        made = anchor(node, claim) if node else None
        name = target_of(made, claim).lower() if made else ""
        return name.startswith("d") or "grad" in name


def _stem(key: str) -> str:
    return re.sub(r"^(d_|d|grad_|grad)|_?grad$", "", key).lower()


def _parts(result: Any) -> list[Leaf]:
    return [leaf for leaf in leaves(result, "") if leaf.keys] if isinstance(result, (tuple, list)) else []


def _number(parts: list[Leaf]) -> int | None:
    """Which of the returned values is the loss: the only finite number that stands by itself."""
    alone = [
        i
        for i, leaf in enumerate(parts)
        if len(leaf.keys) == 1
        and leaf.array.size == 1
        and leaf.array.dtype.kind == "f"
        and np.all(np.isfinite(leaf.array))
    ]
    return alone[0] if alone else None


# -- objects -----------------------------------------------------------------------------------------------


def network_way(owner: type, *, seed: int, until: float) -> Way | str:
    """An object whose methods give the loss and the gradients of what it keeps in a dictionary; or why it does not."""
    methods = [name for name, value in vars(owner).items() if inspect.isfunction(value) and not name.startswith("_")]
    methods = [name for name in methods if len(arguments_of(getattr(owner, name))) > 2]
    defaults = {name: d for name, d in arguments_of(owner).items() if d is not inspect.Parameter.empty}
    until = min(until, time.thread_time() + SECONDS_EACH)
    trouble = ""
    for keywords, sample in makings(needed(owner), defaults) if methods else ():
        for labels in (LABELS, ONE_HOT):
            if time.thread_time() > until:
                return trouble
            generator = np.random.default_rng([seed, 31])
            data = Value("array", (LABELS.shape[0], *sample))
            given, x = fresh(labels, generator), fresh(data, generator)
            trouble = trouble or _trouble(owner, keywords, (x, given))
            for both in _passes_of(owner, keywords, methods, (x, given)):
                with contextlib.suppress(*PROBLEMS, UsageError), np.errstate(all="ignore"):
                    way = _network_tried(owner, keywords, both, (x, given), generator, seed)
                    if way is not None:
                        return replace(way, values=(data, labels))
    return trouble


def _trouble(owner: type, keywords: dict[str, Any], given: Sequence[Any]) -> str:
    """Why a method that is called the loss does not run, if there is one."""
    if not callable(getattr(owner, "loss", None)):
        return ""
    try:
        with np.errstate(all="ignore"):
            network = owner(**keywords)
            network.loss(*copies(given))
    except PROBLEMS as error:
        line = reached(error, [owner.__init__, owner.loss])[1]  # type: ignore[misc,attr-defined]
        return f"{NO_ARGUMENTS}; the loss stops at line {line}: {type(error).__name__}: {error}" if line else ""
    return ""


def _passes_of(
    owner: type, keywords: dict[str, Any], methods: list[str], given: Sequence[Any]
) -> Iterator[tuple[str, str]]:
    """Methods that give the loss and the gradients: one that gives both, or one of each."""
    losses = []
    dictionaries = []
    for method in methods:
        with contextlib.suppress(*PROBLEMS), np.errstate(all="ignore"):
            result = getattr(owner(**keywords), method)(*copies(given))
            if isinstance(result, (tuple, list)) and len(result) == 2 and np.size(result[0]) == 1:
                yield method, method
            elif isinstance(result, Mapping):
                dictionaries.append(method)
            elif np.size(result) == 1 and as_array(result).dtype.kind == "f":
                losses.append(method)
    numeric = [method for method in dictionaries if "numeric" in method.lower()]
    yield from ((loss, d) for loss in losses for d in dictionaries if d not in numeric)


def _network_tried(
    owner: type,
    keywords: dict[str, Any],
    both: tuple[str, str],
    given: tuple[Any, Any],
    generator: np.random.Generator,
    seed: int,
) -> Way | None:
    network = owner(**keywords)
    first, second = (getattr(network, name) for name in both)

    def loss() -> Any:
        result = first(*copies(given))
        return result if first == second else (result, second(*copies(given)))

    result = loss()
    kept = _kept(network, result[1])
    if kept is None:
        return None
    for key, value in kept.items():
        if has_numbers(value):
            # In place, for layers may hold the same arrays.
            drawn = 0.5 * generator.standard_normal(np.shape(value))
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                value[...] = drawn
            else:
                kept[key] = drawn
    x, labels = given
    sizes = {"len(X)": len(x), "X.shape[1]": x.shape[1]}
    report = gradcheck(loss, kept, sizes=sizes, seed=seed)
    made = ", ".join(f"{name}={value}" for name, value in keywords.items() if not isinstance(value, type))
    words = f"{owner.__name__}({made}).{both[0]}(X {x.shape}, labels {labels.shape})"
    words += f" and {both[1]}" if both[0] != both[1] else ""
    claims = {verdict.name: verdict.name for verdict in report.verdicts}
    return Way(("X", "labels"), (), report, words, owner.__name__, code_of(second), claims, is_loss=True)


def _kept(network: Any, gradients: Any) -> dict[str, Any] | None:
    """The dictionary of an object that holds what gradients were returned of."""
    if not isinstance(gradients, dict) or not gradients:
        return None
    for value in vars(network).values():
        if isinstance(value, dict) and value is not gradients and set(value) == set(gradients):
            return value
    return None


# -- weights in a dictionary -------------------------------------------------------------------------------


def numbered_weights(function: Any, defined: Definitions) -> tuple[str, list[str]] | None:
    """The argument of a function in which it looks for numbered weights, and under which keys."""
    node = defined.syntax(function)
    found: dict[str, dict[str, None]] = {}
    for part in ast.walk(node) if node else ():
        if (
            isinstance(part, ast.Subscript)
            and isinstance(part.value, ast.Name)
            and isinstance(part.slice, ast.Constant)
            and re.fullmatch(r"[A-Za-z_]+\d+", str(part.slice.value))
        ):
            found.setdefault(part.value.id, {})[str(part.slice.value)] = None
    names = needed(function)
    return next(((name, list(keys)) for name, keys in found.items() if name in names and len(keys) > 1), None)


def weights_way(pair: Pair, defined: Definitions, holder: str, keys: list[str], *, seed: int) -> Way | str:
    """A pair that has its weights in a dictionary; its loss is what the forward pass gives, or another function."""
    names = needed(pair.forward)
    wanted = [name for name in needed(pair.backward) if name not in names]
    costs = [None, *(f for f in defined.functions.values() if f not in (pair.forward, pair.backward))]
    best: Way | None = None
    for number, (weights, x, labels) in enumerate(networks(keys)):
        generator = np.random.default_rng([seed, 37, number])
        held = {key: fresh(value, generator) for key, value in weights.items()}
        others = iter((x, labels))
        data = [name for name in names if name != holder]
        data += [name for name in wanted if is_label(name) and len(data) < 2]
        values = {name: next(others, labels) for name in data}
        given = {name: fresh(value, generator) for name, value in values.items()}
        for cost in costs:
            with contextlib.suppress(*PROBLEMS, UsageError), np.errstate(all="ignore"):
                way = _weights_tried(pair, holder, held, given, values, cost, seed)
                if way is not None and (best is None or is_better(way, best)):
                    best = way
                if best is not None and best.passed:
                    return best
    return best or NO_ARGUMENTS


def _weights_tried(
    pair: Pair,
    holder: str,
    held: dict[str, Any],
    given: dict[str, Any],
    values: dict[str, Value],
    cost: Any,
    seed: int,
) -> Way | None:
    names = needed(pair.forward)

    def forward(weights: Any) -> Any:
        known = {**given, holder: weights}
        return pair.forward(**{name: _fresh(known[name]) for name in names})

    def loss(weights: Any) -> Any:
        result = forward(weights)
        output = result[0] if isinstance(result, tuple) else result
        if cost is None:
            return output
        labels = list(given.values())[-1]
        others = [weights for name in needed(cost)[2:] if name == holder]
        return cost(output, labels.copy(), *others)

    def backward(weights: Any) -> Any:
        result = forward(weights)
        known = {**given, holder: weights}
        free = [name for name in needed(pair.backward) if name not in known]
        rest = dict(zip(free, result[-len(free) :] if free else (), strict=True))
        return pair.backward(**{name: {**known, **rest}[name] for name in needed(pair.backward)})

    value = loss(held)
    if np.size(value) != 1 or not np.all(np.isfinite(value)):
        return None
    sizes = sizes_of(list(given), list(given.values()))
    report = gradcheck(_number_of(loss), held, backward, sizes=sizes, seed=seed)
    said = [spelled(name, one, values[name]) for name, one in given.items()]
    said.append(f"{holder} {{{', '.join(f'{key} {one.shape}' for key, one in held.items())}}}")
    words = f"{pair.forward.__name__}({', '.join(said)}) and {pair.backward.__name__}"
    words += f", with the loss of {cost.__name__}" if cost is not None else ""
    claims = {verdict.name: f"d{verdict.name}" for verdict in report.verdicts}
    sure = cost is None or 2 * sum(v.verdict == "right" for v in report.verdicts) >= len(report.verdicts)
    return Way(
        tuple(values), tuple(values.values()), report, words, pair.name, code_of(pair.backward), claims,
        is_loss=True, sure=sure,
    )  # fmt: skip


def _number_of(loss: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda weights: as_array(loss(weights)).reshape(())


def _fresh(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else value
