"""The reference network: one hidden layer, trained by backpropagation written out by hand.

Read `Network` as the model answer.  Each step of the forward pass stands next to the step of the backward
pass that undoes it, and every shape is written down.  Samples are rows: N samples, D features, H hidden
units, C classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backprop_doctor import mnist

__all__ = ["RECIPES", "Epoch", "Network", "Recipe", "Sets", "save", "sets", "train"]

Array = NDArray[np.floating]
CLASSES = 10


@dataclass(frozen=True)
class Recipe:
    """How to train: sizes, speeds, and which images.

    ``batch_size`` 0 means all images at once; ``train_on`` "test" means the 10,000 test images, which
    are then scored as well; ``initial_scale`` is the standard deviation of the initial weights, None for
    one over the square root of the number of inputs (LeCun et al. 1998, section 4.6).
    """

    hidden: int
    epochs: int
    learning_rate: float
    batch_size: int
    momentum: float
    train_on: mnist.Split
    initial_scale: float | None = None
    seed: int = 0


RECIPES = {
    "default": Recipe(128, 6, 0.1, 100, 0.9, "train"),
    "thread": Recipe(64, 100, 0.3, 0, 0.0, "test", initial_scale=0.01),
}


@dataclass(frozen=True)
class Epoch:
    """What one pass over the images came to: loss in nats per sample, accuracy as a fraction, seconds."""

    number: int
    loss: float
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class Sets:
    """Images (N, D) scaled to 0..1 and one-hot labels (N, C) to train on, and to score."""

    images: Array
    targets: Array
    scored_images: Array
    scored_targets: Array


class Network:
    """One hidden layer of tanh units, softmax, and the mean cross-entropy.

    Parameters
    ----------
    features, hidden, classes : int
        D, H and C.
    generator : numpy.random.Generator
        Where the initial weights come from.
    initial_scale : float, optional
        Standard deviation of the initial weights; one over the square root of the inputs by default.
    dtype : numpy dtype
        Precision of everything.

    Attributes
    ----------
    hidden_weights : ndarray, shape (D, H)
    hidden_biases : ndarray, shape (1, H)
    output_weights : ndarray, shape (H, C)
    output_biases : ndarray, shape (1, C)

    References
    ----------
    D. E. Rumelhart, G. E. Hinton and R. J. Williams, "Learning representations by back-propagating
    errors", Nature 323 (1986).  C. M. Bishop, "Pattern Recognition and Machine Learning" (2006),
    section 5.3; the derivative of the cross-entropy of a softmax is equation 4.109.
    """

    def __init__(
        self,
        features: int,
        hidden: int,
        classes: int,
        generator: np.random.Generator,
        *,
        initial_scale: float | None = None,
        dtype: type[np.floating] = np.float32,
    ) -> None:
        def weights(inputs: int, outputs: int) -> Array:
            scale = initial_scale or 1 / np.sqrt(inputs)
            drawn: Array = (scale * generator.standard_normal((inputs, outputs))).astype(dtype)
            return drawn

        self.hidden_weights = weights(features, hidden)
        self.hidden_biases = np.zeros((1, hidden), dtype)
        self.output_weights = weights(hidden, classes)
        self.output_biases = np.zeros((1, classes), dtype)
        self._rooms: dict[int, tuple[Array, Array, Array]] = {}
        self.velocities = [np.zeros_like(parameter) for parameter in self.parameters]

    @property
    def parameters(self) -> tuple[Array, Array, Array, Array]:
        """The arrays that learn, in the order of the gradients of `backward`."""
        return self.hidden_weights, self.hidden_biases, self.output_weights, self.output_biases

    def forward(self, images: Array) -> tuple[Array, Array]:
        """Hidden activations (N, H) and the probabilities of the classes (N, C) for images (N, D)."""
        hidden, logits, _ = self._room(len(images))
        np.matmul(images, self.hidden_weights, out=hidden)
        hidden += self.hidden_biases
        np.tanh(hidden, out=hidden)

        np.matmul(hidden, self.output_weights, out=logits)
        logits += self.output_biases
        # The largest logit of a sample may be taken off all of them: exp cannot overflow, the ratio stays.
        logits -= logits.max(axis=1, keepdims=True)
        probabilities = np.exp(logits, out=logits)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        return hidden, probabilities

    def backward(self, images: Array, targets: Array, hidden: Array, probabilities: Array) -> tuple[Array, ...]:
        """Gradients of the mean cross-entropy, one for each of `parameters`, in their shapes."""
        samples = len(images)
        # Softmax and cross-entropy together: what is left is prediction minus target, averaged.
        logits_grad = probabilities - targets
        logits_grad /= samples

        # logits = hidden @ output_weights + output_biases
        output_weights_grad = hidden.T @ logits_grad
        output_biases_grad = logits_grad.sum(axis=0, keepdims=True)
        hidden_grad = logits_grad @ self.output_weights.T

        # hidden = tanh(sums), and the derivative of tanh is one minus its square
        _, _, slope = self._room(samples)
        np.multiply(hidden, hidden, out=slope)
        np.subtract(1, slope, out=slope)
        sums_grad = np.multiply(hidden_grad, slope, out=hidden_grad)

        # sums = images @ hidden_weights + hidden_biases
        hidden_weights_grad = images.T @ sums_grad
        hidden_biases_grad = sums_grad.sum(axis=0, keepdims=True)
        return hidden_weights_grad, hidden_biases_grad, output_weights_grad, output_biases_grad

    def _room(self, samples: int) -> tuple[Array, Array, Array]:
        """Arrays for the activations of so many samples, made once and used again."""
        if samples not in self._rooms:
            hidden, classes = self.output_weights.shape
            shapes = ((samples, hidden), (samples, classes), (samples, hidden))
            first, second, third = (np.empty(shape, self.output_weights.dtype) for shape in shapes)
            self._rooms[samples] = first, second, third
        return self._rooms[samples]

    def step(self, gradients: tuple[Array, ...], learning_rate: float, momentum: float = 0.0) -> None:
        """Move every parameter against its gradient (B. T. Polyak 1964, for the momentum)."""
        for parameter, velocity, gradient in zip(self.parameters, self.velocities, gradients, strict=True):
            velocity *= momentum
            velocity -= learning_rate * gradient
            parameter += velocity


def cross_entropy(probabilities: Array, targets: Array) -> float:
    """Mean cross-entropy in nats per sample; a probability of 0 counts as the smallest normal number."""
    right = np.sum(probabilities * targets, axis=1)
    return float(-np.mean(np.log(np.maximum(right, np.finfo(right.dtype).tiny))))


def accuracy(probabilities: Array, targets: Array) -> float:
    """Share of samples whose most probable class is the right one, 0 to 1."""
    return float(np.mean(probabilities.argmax(axis=1) == targets.argmax(axis=1)))


def sets(train_on: mnist.Split, dtype: type[np.floating] = np.float32) -> Sets:
    """Images to train on, and the 10,000 test images to score, as arrays of numbers from 0 to 1."""
    scored = _prepared("test", dtype)
    return Sets(*(scored if train_on == "test" else _prepared("train", dtype)), *scored)


def _prepared(split: mnist.Split, dtype: type[np.floating]) -> tuple[Array, Array]:
    images, labels = mnist.load(split)
    return images.reshape(len(images), -1).astype(dtype) / dtype(255), np.eye(CLASSES, dtype=dtype)[labels]


def train(
    recipe: Recipe, data: Sets | None = None, on_batch: Callable[[int, int], None] = lambda done, of: None
) -> Iterator[tuple[Epoch, Network]]:
    """Train a network, and say after each epoch how it does.

    Parameters
    ----------
    recipe : Recipe
        What to do.
    data : Sets, optional
        The images; those that the recipe names by default.
    on_batch : function of (int, int), optional
        Called after each batch with the number of batches done in all, and their number.

    Yields
    ------
    epoch : Epoch
        Loss over the images trained on, as they were met; accuracy on the images to score.
    network : Network
        The network itself, which goes on learning.
    """
    data = data or sets(recipe.train_on)
    generator = np.random.default_rng(recipe.seed)
    features, samples = data.images.shape[1], len(data.images)
    network = Network(features, recipe.hidden, CLASSES, generator, initial_scale=recipe.initial_scale)
    size = recipe.batch_size or samples
    batches = -(-samples // size)
    for number in range(1, recipe.epochs + 1):
        started = time.perf_counter()
        order = generator.permutation(samples) if size < samples else None
        losses = []
        for first in range(0, samples, size):
            images, targets = data.images, data.targets
            if order is not None:
                images, targets = images[order[first : first + size]], targets[order[first : first + size]]
            hidden, probabilities = network.forward(images)
            losses.append(cross_entropy(probabilities, targets) * len(images))
            network.step(
                network.backward(images, targets, hidden, probabilities), recipe.learning_rate, recipe.momentum
            )
            on_batch((number - 1) * batches + first // size + 1, recipe.epochs * batches)
        # Scoring the images of the batch itself costs nothing more: its forward pass has been made.
        if data.scored_images is not data.images or size < samples or number == recipe.epochs:
            _, probabilities = network.forward(data.scored_images)
        score = accuracy(probabilities, data.scored_targets)
        yield Epoch(number, sum(losses) / samples, score, time.perf_counter() - started), network


def save(path: Path, network: Network) -> None:
    """Write the parameters to an ``.npz`` file, under their names."""
    names = ("hidden_weights", "hidden_biases", "output_weights", "output_biases")
    np.savez(path, **{name: getattr(network, name) for name in names})


if __name__ == "__main__":
    for epoch, _ in train(RECIPES["thread"]):
        print(f"epoch {epoch.number}: loss {epoch.loss:.4f}, accuracy {epoch.accuracy:.2%}")
