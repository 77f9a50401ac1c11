"""Arguments with which functions and layers of other people may be called, the likeliest first.

Each filling belongs to a world: what the axes of the data mean in it, and which shapes may go with them.  Sizes
collide with nothing, so that a shape that fits fits for a reason.  Names of arguments decide what comes first,
never what is tried.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

__all__ = [
    "LABELS", "ONE_HOT", "SAMPLES", "Settings", "Value", "fillings", "fresh", "is_label", "is_number", "is_unlike_data",
    "makings", "networks", "sample_axis", "spelled",
]  # fmt: skip

Kind = Literal["array", "labels", "target", "words", "number", "settings", "text"]
Shape = tuple[int, ...]

N, D, H, C = 7, 5, 4, 3  # samples, features, hidden units, classes
T, V = 2, 9  # steps, words
IMAGES, CHANNELS, HEIGHT, WIDTH, FILTERS, SIDE = 11, 2, 4, 6, 5, 3
SAMPLES = frozenset({N, IMAGES})
OPTIONS = (0, 20, 20, 14, 10, 8, 5)  # for each argument, by their number; more arguments only by the templates
LONG = 4  # arguments for which the templates are tried first
FILLINGS = 400  # of one world

# What settings hold where a program asks for them; 1 for all others.
ANSWERS = {
    "mode": "train", "stride": 1, "pad": 1, "p": 0.5, "eps": 1e-5, "momentum": 0.9, "f": 2, "pool_height": 2,
    "pool_width": 2, "pool_size": 2, "kernel_size": 2, "seed": 0, "epsilon": 1e-5, "keep_prob": 0.5,
}  # fmt: skip
LABELLED = re.compile(r"^(y|t|d)(_?(true|batch|train))?$|label|target|truth|actual", re.IGNORECASE)
SETTINGS = re.compile(r"param|config|setting|option|^opt", re.IGNORECASE)
NUMBERS = re.compile(r"reg|lamb?da|alpha|beta\d|eps|rate|^lr|^p$|ratio|prob|delta|margin|slope|decay|lam$")
COUNTS = re.compile(
    r"stride|pad|size|^k$|kernel|num|dim|^n_|^n$|^in_|^out_|features|channels|units|neurons|nodes|hidden|filters|puts?$"
)
BIASES = re.compile(r"^b|bias|beta|gamma|scale|shift", re.IGNORECASE)


class Settings(dict[str, Any]):
    """A dictionary that answers whatever it is asked for, and remembers what that was."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.asked: dict[str, Any] = {}

    def __missing__(self, key: str) -> Any:
        self[key] = self.asked[key] = ANSWERS.get(key, 1)
        return self[key]


@dataclass(frozen=True)
class Value:
    """What is given for one argument; ``shared`` arrays are the same for all samples, ``fractions`` lie in 0..1."""

    kind: Kind
    shape: Shape = ()
    value: Any = None
    integer: bool = False
    values: int = C
    fractions: bool = False

    @cached_property
    def shared(self) -> bool:
        """Whether no axis counts samples."""
        return not SAMPLES & set(self.shape)

    @property
    def is_labels(self) -> bool:
        """Whether it is what a network should give."""
        return self.kind in ("labels", "target")


LABELS, ONE_HOT = Value("labels", (N,), integer=True), Value("target", (N, C))
NUMBER, SETTINGS_VALUE = Value("number", value=0.3), Value("settings")


@dataclass(frozen=True)
class _World:
    """Shapes of data, and of what may go with them."""

    data: Value
    others: tuple[Shape, ...]
    labels: tuple[Value, ...] = ()
    templates: tuple[tuple[Shape, ...], ...] = ()


ROWS = _World(
    Value("array", (N, D)),
    ((D, C), (C,), (1, C), (C, D), (D,), (1, D), (N, D), (N, C)),
    (LABELS, ONE_HOT, Value("target", (N, D)), Value("target", (N, 1))),
    (
        ((N, D), (N, H), (D, H), (H, H), (H,)),
        ((N, D), (N, H), (N, H), (D, 4 * H), (H, 4 * H), (4 * H,)),
        ((N, T, D), (N, H), (D, H), (H, H), (H,)),
        ((N, T, D), (N, H), (D, 4 * H), (H, 4 * H), (4 * H,)),
        ((N, D), (D, C), (C,), (C,), (C,)),
        ((N, D), (D, H), (H,), (H, C), (C,)),
        ((N, D), (D, H), (1, H), (H, C), (1, C)),
        ((N, D), (D, H), (H,), (H, C), (C,), (C, H + C), (H + C,)),
    ),
)
COLUMNS = _World(
    Value("array", (D, N)),
    ((C, D), (C, 1), (D, 1), (1, D), (1, 1), (D, C), (C,), (D, N)),
    (Value("target", (1, N)), Value("target", (C, N)), Value("labels", (N,), integer=True), Value("target", (D, N))),
    (
        ((D, N), (H, D), (H, 1), (C, H), (C, 1)),
        ((D, N), (H, N), (H, H), (H, D), (C, H), (H, 1), (C, 1)),
    ),
)
FIRST = _World(
    Value("array", (IMAGES, CHANNELS, HEIGHT, WIDTH)),
    (
        (FILTERS, CHANNELS, SIDE, SIDE), (FILTERS,), (CHANNELS,), (CHANNELS * HEIGHT * WIDTH, C), (C,), (1, C),
        (1, CHANNELS, 1, 1), (FILTERS, 1),
    ),
)  # fmt: skip
LAST = _World(
    Value("array", (IMAGES, HEIGHT, WIDTH, CHANNELS)),
    ((SIDE, SIDE, CHANNELS, FILTERS), (1, 1, 1, FILTERS), (FILTERS,), (CHANNELS,)),
)
STEPS = _World(
    Value("array", (N, T, D)),
    ((D, C), (C,), (N, T)),
    (Value("labels", (N, T), integer=True),),
)
WORDS = _World(Value("words", (N, T), integer=True, values=V), ((V, D),))
WORD = _World(Value("words", (N,), integer=True, values=C), ((V, D),))
SINGLE = _World(Value("array", (D,)), ((D, C), (C, D), (C,), (D,)), (Value("target", (D,)),))
COLUMN = _World(Value("array", (D, 1)), ((C, D), (C, 1), (D, 1)), (Value("target", (D, 1)),))
SCALARS = _World(Value("number", value=0.7), (), ())
WORLDS = (ROWS, COLUMNS, FIRST, LAST, STEPS, WORDS, WORD, SINGLE, SCALARS, COLUMN)


def fillings(
    names: Sequence[str], made: int = 0, choices: Mapping[str, Sequence[str]] | None = None
) -> Iterator[Iterator[tuple[Value, ...]]]:
    """Values for arguments of these names, one iterator for each world; names that are unlike data come last.

    Parameters
    ----------
    names : sequence of str
        What the arguments are called.
    made : int
        How many of them are arguments of a constructor, which may also be sizes of the data.
    choices : mapping of str to sequence of str
        Texts that an argument is compared with.
    """
    for unlike in (False, True):
        positions = [i for i in range(made, len(names)) if is_unlike_data(names[i]) == unlike]
        for world in WORLDS if positions else ():
            yield itertools.islice(_filled(world, names, made, positions, choices or {}), FILLINGS)


def _filled(
    world: _World, names: Sequence[str], made: int, positions: list[int], choices: Mapping[str, Sequence[str]]
) -> Iterator[tuple[Value, ...]]:
    settings = [i for i, name in enumerate(names) if SETTINGS.search(name)]
    # Templates have the data first, and so has the forward pass of an object; what made it comes after.
    order = [i for i in (*range(made, len(names)), *range(made)) if i not in settings]
    for template in world.templates:
        if len(order) == len(template) >= LONG:
            fixed = dict.fromkeys(settings, SETTINGS_VALUE)
            fixed |= {i: Value("array", shape) for i, shape in zip(order, template, strict=True)}
            yield tuple(fixed[i] for i in range(len(names)))
    if len(names) >= len(OPTIONS):
        return
    number = OPTIONS[len(names)]
    options = [_options(world, name, choices.get(name, ()), number, is_made=i < made) for i, name in enumerate(names)]
    found: list[tuple[int, int, int, tuple[Value, ...]]] = []
    for rank, position in enumerate(positions):
        lists = [[(0, world.data)] if i == position else options[i] for i in range(len(names))]
        for number, chosen in enumerate(itertools.product(*lists)):
            cost = 4 * rank + sum(cost for cost, _ in chosen)
            sizes = [value.value for _, value in chosen[:made] if value.kind == "number"]
            cost += 3 * (len(sizes) - len(set(sizes)))  # sizes that are the same hide what is transposed
            values = tuple(value for _, value in chosen)
            # Data of several kinds are tried last: what all samples share has no axis for them.
            data = sum(value.kind == "array" and not value.shared for value in values)
            found.append((data, cost, number, values))
    found.sort(key=lambda item: item[:3])
    yield from (values for _, _, _, values in found)


def _options(
    world: _World, name: str, choices: Sequence[str], number: int, *, is_made: bool
) -> list[tuple[int, Value]]:
    """What an argument may be, with what it costs to think so: as many as asked for, a whole number among them."""
    if choices:
        return [(i, Value("text", value=choice)) for i, choice in enumerate(choices)]
    shapes = sorted(world.others, key=lambda s: _unlike_bias(s) if BIASES.search(name) else 0)
    arrays = [Value("array", shape) for shape in shapes]
    labels = [] if is_made else list(world.labels)
    own = [size for size in world.data.shape if size > 1 and size not in SAMPLES]
    sizes = dict.fromkeys((*own, C, FILTERS, SIDE, 2) if is_made else (1, 2))
    numbers = [Value("number", value=size) for size in sizes]
    groups: list[tuple[bool, list[Value]]] = [
        (bool(LABELLED.search(name)), labels),
        (bool(SETTINGS.search(name)), [SETTINGS_VALUE]),
        (bool(NUMBERS.search(name)), [NUMBER]),
        (bool(COUNTS.search(name)), numbers),
        (True, arrays),
    ]
    ordered = [value for hinted in (True, False) for group in (_hinted(groups, hinted)) for value in group]
    kept = ordered[:number]
    if not any(value.kind == "number" for value in kept):
        kept[-1] = numbers[-1]
    return list(enumerate(kept))


def _hinted(groups: list[tuple[bool, list[Value]]], hinted: bool) -> list[list[Value]]:
    return [values for flag, values in groups if flag == hinted]


def sample_axis(value: Value) -> int | None:
    """The axis of an argument that counts samples."""
    return next((axis for axis, size in enumerate(value.shape) if size in SAMPLES), None)


def is_label(name: str) -> bool:
    """Whether an argument is called like labels."""
    return bool(LABELLED.search(name))


def is_number(name: str) -> bool:
    """Whether an argument is called like a plain number, or like settings."""
    return bool(NUMBERS.search(name) or SETTINGS.search(name) or COUNTS.search(name))


def is_unlike_data(name: str) -> bool:
    """Whether an argument is called like anything but inputs."""
    return bool(LABELLED.search(name) or SETTINGS.search(name) or BIASES.search(name)) or name[:1] in "wW"


def _unlike_bias(shape: Shape) -> int:
    return sum(size > 1 for size in shape) > 1


def networks(keys: Sequence[str]) -> Iterator[tuple[dict[str, Value], Value, Value]]:
    """Weights of a network of layers with numbered names, with data and labels, in each layout."""
    numbers = {key: int(re.search(r"\d+$", key)[0]) for key in keys if re.search(r"\d+$", key)}  # type: ignore[index]
    layers = sorted(set(numbers.values()))
    for columns, last, flat in itertools.product((True, False), (1, C), (False, True)):
        widths = [D, *itertools.islice(itertools.cycle((H, H + 2)), len(layers) - 1), last]
        weights = {}
        for key, number in numbers.items():
            before, after = widths[layers.index(number) :][:2]
            bias: Shape = (after,) if flat else (after, 1) if columns else (1, after)
            shape = bias if BIASES.search(key) else (after, before) if columns else (before, after)
            weights[key] = Value("array", shape)
        x = Value("array", (D, N) if columns else (N, D))
        forms = [Value("target", (last, N) if columns else (N, last)), *([LABELS] if last > 1 else [])]
        yield from ((weights, x, labels) for labels in forms)


def makings(required: Sequence[str], defaults: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Shape]]:
    """Keywords that make a small network, and the shape of one sample that it may take."""
    sizes = iter((D, H, C, H + 1, C + 1))
    small: dict[str, Any] = {}
    sample: Shape = (D,)
    for name, value in defaults.items():
        if isinstance(value, tuple) and len(value) == 3 and all(isinstance(size, int) for size in value):
            small[name] = sample = (CHANNELS, HEIGHT, WIDTH)
        elif isinstance(value, int) and not isinstance(value, bool) and value > 9:
            small[name] = next(sizes, H)
        elif isinstance(value, int) and not isinstance(value, bool) and value == 10:
            small[name] = C
        elif value is np.float32:
            small[name] = np.float64
    for chosen in itertools.product(([6, 4], D, C, H), repeat=min(len(required), 3)):
        given = dict(zip(required, chosen, strict=False))
        first = next((v for v in chosen if isinstance(v, int)), None)
        yield given | small, (first,) if first is not None and sample == (D,) else sample
        if not required:
            return


def fresh(value: Value, generator: np.random.Generator) -> Any:
    """An object to hand over."""
    if value.kind == "settings":
        return Settings()
    if value.integer:
        return generator.permutation(np.arange(np.prod(value.shape)) % value.values).reshape(value.shape)
    if value.kind == "target":
        classes = 0 if value.shape[0] not in SAMPLES else 1
        number = value.shape[classes]
        if number == 1:
            return (generator.permutation(N) % 2).reshape(value.shape)
        chosen = np.eye(number, dtype=int)[generator.permutation(N) % number]
        return chosen if classes else chosen.T
    if value.kind == "array":
        drawn = generator.standard_normal(value.shape)
        return 0.5 + 0.4 * np.tanh(drawn) if value.fractions else drawn
    return value.value


def spelled(name: str, given: Any, value: Value) -> str:
    """An argument as the report shows it."""
    if isinstance(given, Settings):
        return f"{name} { ({k: v for k, v in given.items() if not hasattr(v, 'shape')}) }"
    if value.kind in ("number", "text"):
        return f"{name} {given!r}"
    labels = "labels " if value.is_labels else "whole numbers " if value.integer else ""
    span = " in 0..1" if value.fractions else ""
    return f"{name} {labels}{value.shape}{span}"
