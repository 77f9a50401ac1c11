"""What each axis means: samples, features, hidden units, classes.

The sample axis is the one along which a change of one slice of the inputs changes one slice of the
output; the other names go by size, the number of images having been chosen to collide with nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backprop_doctor.gradients import Measurement
from backprop_doctor.roles import Roles

__all__ = ["Axes", "name_axes"]

LETTERS = {"samples": "N", "features": "D", "classes": "C"}


@dataclass(frozen=True)
class Axes:
    """Sizes of the named axes, and on which axis of inputs and output the samples lie.

    ``output_samples`` is None when the program takes one sample at a time.
    """

    sizes: dict[str, int]
    input_samples: int | None
    output_samples: int | None

    @property
    def samples(self) -> int:
        """Number of samples in the first step (1 when taken one at a time)."""
        return self.sizes.get("samples", 1)

    @property
    def letters(self) -> dict[str, int]:
        """Sizes by letter: N samples, D features, C classes, H or H1, H2 ... hidden units."""
        return {self.letter(name): size for name, size in self.sizes.items()}

    def letter(self, name: str) -> str:
        """The letter of an axis name."""
        if name.startswith("hidden"):
            several = sum(n.startswith("hidden") for n in self.sizes) > 1
            return "H" + (name.split()[1] if several else "")
        return LETTERS.get(name, name)

    def of(self, shape: tuple[int, ...]) -> tuple[str, ...]:
        """Names of the axes of an array of that shape; ``1`` for unit axes, ``?`` for unknown ones."""
        names = []
        for size in shape:
            known = [n for n, s in self.sizes.items() if s == size and n not in names]
            names.append("1" if size == 1 else known[0] if known else "?")
        return tuple(names)

    def words(self, name: str) -> str:
        """An axis name as it is said in a sentence: ``hidden units``, ``units of hidden layer 2``."""
        if name == "hidden":
            return "hidden units"
        return f"units of hidden layer {name.split()[1]}" if name.startswith("hidden") else name

    def describe(self, shape: tuple[int, ...]) -> str:
        """A shape with the meaning of its axes: ``(samples 97, classes 10)``."""
        if not shape:
            return "a number"
        parts = [str(n) if a in ("1", "?") else f"{a} {n}" for a, n in zip(self.of(shape), shape, strict=True)]
        return "(" + ", ".join(parts) + ("," if len(parts) == 1 else "") + ")"


def name_axes(measurement: Measurement) -> Axes:
    """Find the sample axes by dependence and name the rest by size."""
    roles = measurement.roles
    inputs, output = roles.batch.shape, roles.output.shape if roles.output else ()
    pair = _sample_axes(measurement) if roles.output else None
    sizes: dict[str, int] = {}
    if pair is not None:
        sizes["samples"] = output[pair[1]]
    features = [n for axis, n in enumerate(inputs) if (pair is None or axis != pair[0]) and n > 1]
    if features:
        sizes["features"] = int(np.prod(features))
    classes = [n for axis, n in enumerate(output) if (pair is None or axis != pair[1]) and n > 1]
    hidden = 0
    for parameter in roles.parameters:
        for n in parameter.shape:
            if n > 1 and n not in sizes.values() and n not in classes:
                hidden += 1
                sizes[f"hidden {hidden}"] = n
    if classes:
        sizes["classes"] = classes[0]
    if hidden == 1:
        sizes = {name.replace("hidden 1", "hidden"): n for name, n in sizes.items()}
    return Axes(sizes, pair[0] if pair else None, pair[1] if pair else None)


def _sample_axes(measurement: Measurement) -> tuple[int, int] | None:
    """Axes of inputs and output such that slice 0 of the one moves slice 0 of the other most."""
    roles: Roles = measurement.roles
    output = roles.output
    assert output is not None
    before = np.asarray(measurement.value(output.birth), np.float64)
    inputs = roles.batch
    shape = np.shape(measurement.value(inputs.birth))
    candidates = [(i, o) for i, n in enumerate(shape) for o, k in enumerate(before.shape) if n == k and n > 1]
    best: tuple[float, tuple[int, int]] | None = None
    for i, o in candidates:
        where = tuple(0 if axis == i else slice(None) for axis in range(len(shape)))

        def move(value: np.ndarray, where: tuple[object, ...] = where) -> np.ndarray:
            moved = np.array(value, np.float64)
            moved[where] += 0.1 * (np.abs(moved).max() or 1.0)  # type: ignore[index]
            return moved

        after = measurement.run({inputs.birth: move}, keep=frozenset({output.birth})).value(output.birth)
        if after is None or np.shape(after) != before.shape:
            continue
        change = np.abs(np.nan_to_num(after - before)).sum(axis=tuple(a for a in range(before.ndim) if a != o))
        share = float(change[0] / change.sum()) if change.sum() else 0.0
        if best is None or share > best[0]:
            best = (share, (i, o))
    if best is None:
        return None
    return best[1] if best[0] > 2.0 / before.shape[best[1][1]] or len(candidates) == 1 else None
