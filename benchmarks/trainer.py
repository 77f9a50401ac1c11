"""The reference trainer against the same work in PyTorch (eager), and against the machine's own matrix products.

Run ``python benchmarks/trainer.py``; PyTorch is compared with where it is installed.  All figures of one
run come from one machine at one time: compare the ratios, not the seconds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from backprop_doctor import trainer

RECIPE = trainer.RECIPES["thread"]
REPEATS = 5


def seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def ours(data: trainer.Sets) -> float:
    return [epoch for epoch, _ in trainer.train(RECIPE, data)][-1].accuracy


def products(data: trainer.Sets) -> None:
    """The four matrix products of each epoch, and nothing else."""
    generator = np.random.default_rng(0)
    hidden = generator.standard_normal((len(data.images), RECIPE.hidden), np.float32)
    logits = generator.standard_normal((len(data.images), 10), np.float32)
    first = generator.standard_normal((data.images.shape[1], RECIPE.hidden), np.float32)
    second = generator.standard_normal((RECIPE.hidden, 10), np.float32)
    for _ in range(RECIPE.epochs):
        data.images @ first
        hidden @ second
        hidden.T @ logits
        logits @ second.T
        data.images.T @ hidden


def torch_eager(data: trainer.Sets) -> float:
    import torch

    images, targets = torch.from_numpy(data.images), torch.from_numpy(data.targets.argmax(axis=1))
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(images.shape[1], RECIPE.hidden), torch.nn.Tanh(), torch.nn.Linear(RECIPE.hidden, 10)
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.01 if parameter.ndim == 2 else torch.zeros_like(parameter))
    optimiser = torch.optim.SGD(network.parameters(), lr=RECIPE.learning_rate)
    score = 0.0
    for _ in range(RECIPE.epochs):
        optimiser.zero_grad()
        logits = network(images)
        loss = torch.nn.functional.cross_entropy(logits, targets)
        loss.backward()
        optimiser.step()
        score = float((logits.argmax(1) == targets).float().mean())
        loss.item()
    return score


def main() -> None:
    data = trainer.sets(RECIPE.train_on)
    work: dict[str, Callable[[], object]] = {"trainer": lambda: ours(data), "products": lambda: products(data)}
    try:
        import torch

        work["torch"] = lambda: torch_eager(data)
        print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads")
    except ImportError:
        print("PyTorch is not installed: not compared")
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(REPEATS):
        for name, one in work.items():
            times[name].append(seconds_of(one))
    middle = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        print(
            f"{name:9} {middle[name]:.2f} s  ({min(values):.2f} to {max(values):.2f} in {REPEATS} runs, taken in turn)"
        )
    share = middle["products"] / middle["trainer"]
    print(f"share of the machine's float32 matrix-product rate, same shapes: {share:.0%}")
    if "torch" in middle:
        print(f"time of the trainer over time of PyTorch: {middle['trainer'] / middle['torch']:.2f}")
    print(f"accuracy {ours(data):.2%} on the images trained on; {replace(RECIPE)}")


if __name__ == "__main__":
    main()
