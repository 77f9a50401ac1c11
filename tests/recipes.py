"""What a generated program is to look like: one choice for each way in which people write the same network."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

PER_SAMPLE = ("vector", "column")
LOOPED = ("lists", "string_keys", "layers")
STORAGES = ("script", "function", "tuples", "dicts", "class", "one_dict", *LOOPED)


@dataclass(frozen=True)
class Recipe:
    """One hand-written network, in choices.

    Parameters
    ----------
    data : str
        ``mnist`` through a packaged loader, ``xor`` in literals, or ``made`` up with labels from a rule.
    samples, features, outputs : int
        Sizes of the training set.
    hidden : tuple of int
        Widths of the hidden layers.
    layout : str
        ``samples`` in rows, ``features`` in rows, one 1-D ``vector`` or one ``column`` at a time.
    activations : tuple of str
        One for each hidden layer.
    slope : str
        Whether derivatives of activations are written for the layer's ``output`` or its ``input``.
    named : bool
        Whether pre-activations have a name of their own.
    division : str
        Where a mean is divided by the number of samples: in the ``delta``, or in each ``gradient``.
    shown : str
        When the loss is computed: ``before`` the update, ``after``, ``sometimes``, in a ``function``, ``never``.
    """

    data: str
    samples: int
    features: int
    outputs: int
    hidden: tuple[int, ...]
    layout: str
    activations: tuple[str, ...]
    slope: str
    named: bool
    output: str
    loss: str
    labels: str
    reduction: str
    division: str
    shown: str
    optimiser: str
    decay: float
    batching: str
    batch: int
    storage: str
    bias: str
    naming: str
    dtype: str
    metric: str
    ascent: bool
    inplace: bool
    epochs: int
    seed: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Sizes from the features to the outputs."""
        return (self.features, *self.hidden, self.outputs)

    @property
    def is_mean(self) -> bool:
        """Whether sums over samples are divided by their number."""
        return self.reduction == "mean" and self.layout not in PER_SAMPLE

    @property
    def has_test_set(self) -> bool:
        """Whether the accuracy can be taken on samples that were not trained on."""
        return self.data != "xor"

    @property
    def rate(self) -> float:
        """Learning rate with which the network trains and its values stay ordinary."""
        if self.optimiser in ("adagrad", "rmsprop", "adam"):
            return 0.01
        samples = self.batch if self.reduction == "sum" and self.layout not in PER_SAMPLE else 1
        return float(f"{0.1 / samples:.1g}")


Pick = Callable[[Sequence[Any]], Any]


def drawn(pick: Pick) -> Recipe:
    """A recipe whose choices fit each other, each made by ``pick``."""
    data = pick(("made", "made", "mnist", "xor"))
    layout = pick(("samples", "samples", "features", "vector", "column"))
    if data == "mnist":
        samples, features, outputs = 60000, 784, 10
    elif data == "xor":
        samples, features, outputs = 4, 2, pick((1, 2))
    else:
        samples, features, outputs = 150, pick((3, 5, 8)), pick((1, 2, 3, 4))
    output = pick(("sigmoid", "linear") if outputs == 1 else ("softmax", "softmax", "sigmoid", "linear"))
    losses = {"softmax": ("cross-entropy",), "sigmoid": ("binary", "squared", "half"), "linear": ("squared", "half")}
    usual = {"mnist": (10, 12, 20, 30), "xor": (2, 3, 4, 8), "made": (4, 6, 7, 10)}[data]
    widths = (*usual, outputs, *((features,) if features < 100 else ())) if outputs > 1 else (*usual, features % 700)
    hidden = tuple(pick(widths) for _ in range(pick((0, 1, 1, 2, 2, 3))))
    per_sample = layout in PER_SAMPLE
    batching = "sample" if per_sample else pick(("mini", "full") if data != "xor" else ("full",))
    full = samples if batching == "full" else 1
    storage = pick(STORAGES)
    slope = pick(("output", "output", "input"))
    optimiser = pick(("sgd", "sgd", "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam"))
    decay = pick((0.0, 0.0, 0.001))
    indexed = output == "softmax" and layout == "samples"
    labels = pick(("one-hot", "one-hot", "index")) if indexed else "one-hot"
    simple = optimiser in ("sgd", "momentum") and decay == 0 and labels == "one-hot"
    bias = pick(("vector", "vector", "flat", "ones", "none"))
    if layout != "samples" and bias == "flat":
        bias = "vector"
    return Recipe(
        data=data,
        samples=samples,
        features=features,
        outputs=outputs,
        hidden=hidden,
        layout=layout,
        activations=tuple(pick(("tanh", "sigmoid", "relu", "leaky")) for _ in hidden),
        slope=slope,
        named=slope == "input" or pick((True, True, False)),
        output=output,
        loss=pick(losses[output]),
        labels=labels,
        reduction="sum" if per_sample else pick(("mean", "mean", "sum")),
        division=pick(("delta", "gradient")),
        shown=pick(("before", "after", "sometimes", "function", "never")),
        optimiser=optimiser,
        decay=decay,
        batching=batching,
        batch=full if batching != "mini" else pick((20, 32)),
        storage=storage,
        bias=bias,
        naming=pick(("usual", "letters", "words", "camel")),
        dtype=pick(("float64", "float64", "float32")),
        metric="none" if outputs == 1 and output == "linear" else pick(("none", "mean", "loop")),
        ascent=pick((False, False, True)) if simple else False,
        inplace=pick((True, False)),
        epochs=pick((5, 30, 100)),
        seed=pick(tuple(range(100))),
    )


def random_recipe(seed: int) -> Recipe:
    """The recipe of a seed."""
    return drawn(random.Random(seed).choice)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Strategy over all recipes; it shrinks towards the first of each list of choices."""
    return drawn(lambda options: draw(st.sampled_from(options)))
