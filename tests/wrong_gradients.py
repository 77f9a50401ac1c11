"""A small network with a right gradient, and the ways in which people get it wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Parameters = dict[str, Any]
Result = tuple[float, Parameters]
SCALES = tuple(10.0**-k for k in range(9))
DTYPES = ("float64", "float32")


@dataclass
class Network:
    """Two hidden layers, ReLU and tanh, softmax, cross-entropy times ``scale``; (N, D) inputs."""

    seed: int
    scale: float = 1.0
    dtype: str = "float64"

    def __post_init__(self) -> None:
        generator = np.random.default_rng(self.seed)
        count, features, hidden, classes = 31, 7, 6, 4
        self.count = count
        self.inputs = generator.standard_normal((count, features))
        self.others = generator.standard_normal((count, features))
        self.targets = np.eye(classes)[generator.integers(0, classes, count)]
        shapes = {"W1": (features, hidden), "W2": (hidden, hidden), "W3": (hidden, classes)}
        self.parameters = {n: 0.5 * generator.standard_normal(s) for n, s in shapes.items()}
        self.parameters |= {f"b{i}": 0.1 * generator.standard_normal(s[1]) for i, s in enumerate(shapes.values(), 1)}
        self.parameters = {name: value.astype(self.dtype) for name, value in self.parameters.items()}

    def loss(self, p: Parameters) -> Result:
        return self.run(p, self.inputs, masked=True)

    def run(self, p: Parameters, inputs: Any, *, masked: bool) -> Result:
        z1 = inputs @ p["W1"] + p["b1"]
        a1 = np.maximum(z1, 0)
        a2 = np.tanh(a1 @ p["W2"] + p["b2"])
        z3 = a2 @ p["W3"] + p["b3"]
        z3 = z3 - z3.max(axis=1, keepdims=True)
        log = z3 - np.log(np.exp(z3).sum(axis=1, keepdims=True))
        loss = -self.scale * float((self.targets * log).sum()) / self.count
        d3 = self.scale * (np.exp(log) - self.targets) / self.count
        d2 = (d3 @ p["W3"].T) * (1 - a2**2)
        d1 = (d2 @ p["W2"].T) * ((z1 > 0) if masked else 1.0)
        grads = {
            "W1": inputs.T @ d1, "b1": d1.sum(axis=0),
            "W2": a1.T @ d2, "b2": d2.sum(axis=0),
            "W3": a2.T @ d3, "b3": d3.sum(axis=0),
        }  # fmt: skip
        return loss, {name: value.astype(p[name].dtype) for name, value in grads.items()}


def _times(factor: float) -> Callable[[Network, Parameters], Parameters]:
    def wrong(network: Network, p: Parameters) -> Parameters:
        grads = network.loss(p)[1]
        return {**grads, "W2": (grads["W2"] * factor).astype(grads["W2"].dtype)}

    return wrong


def _transposed(network: Network, p: Parameters) -> Parameters:
    grads = network.loss(p)[1]
    return {**grads, "W2": grads["W2"].T.copy()}


def _one_entry(network: Network, p: Parameters) -> Parameters:
    grads = network.loss(p)[1]
    grads["W2"][2, 3] *= 1.5
    return grads


def _no_mask(network: Network, p: Parameters) -> Parameters:
    return network.run(p, network.inputs, masked=False)[1]


def _stale(network: Network, p: Parameters) -> Parameters:
    return {**network.loss(p)[1], "W1": network.run(p, network.others, masked=True)[1]["W1"]}


# The batch has 31 samples.
WRONG: dict[str, Callable[[Network, Parameters], Parameters]] = {
    "factor 1.001": _times(1.001),
    "sign": _times(-1.0),
    "times N": _times(31.0),
    "divided by N": _times(1 / 31.0),
    "transposed": _transposed,
    "one entry": _one_entry,
    "mask missing": _no_mask,
    "stale cache": _stale,
    "zero": _times(0.0),
}
