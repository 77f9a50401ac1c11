"""All weight matrices start with equal entries, so that the units of a layer stay copies."""

from __future__ import annotations

from collections.abc import Iterator

from backprop_doctor.static import Suspicion
from backprop_doctor.static._sketch import Sketch, spelled, transposed

CONSTANT = ("numpy.zeros", "numpy.ones", "numpy.full")


def suspect(sketch: Sketch) -> Iterator[Suspicion]:
    """``np.zeros((D, H))`` for the hidden weights, in a network whose other weights are constant too."""
    factors = {
        spelled(factor) or transposed(factor)
        for product in sketch.products()
        for factor in (product.left, product.right)
    }
    weights = [name for name in sketch.values if name in sketch.parameters & factors]
    made = {name: [sketch.constructed(value) for value in sketch.values[name]] for name in weights}
    if len(weights) < 2 or not all(
        values and all(function in CONSTANT and len(shape) == 2 for function, shape in values)
        for values in made.values()
    ):
        return
    if any(sketch.number(size) == 1 for name in weights[:-1] for _, shape in made[name] for size in shape):
        return
    for name in weights[:-1]:
        for value in sketch.values[name]:
            assert value is not None
            yield Suspicion(
                value,
                f"all entries of {name} start equal, as do those of {', '.join(w for w in weights if w != name)}",
                "units that start equal get equal gradients, and stay copies of one unit for ever",
                "np.random.randn(...) times the root of 1 / the number of inputs",
            )
