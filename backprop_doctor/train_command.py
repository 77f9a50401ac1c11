"""The command ``backprop-doctor train``: options, progress and a plain word on what the figure means."""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backprop_doctor.errors import UsageError

if TYPE_CHECKING:
    from backprop_doctor.trainer import Epoch, Recipe

__all__ = ["train"]


def _rate(_context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise click.BadParameter(f"{value} is not a number above 0")
    return value


@click.command(
    epilog="""\b
Examples:
  backprop-doctor train
  backprop-doctor train --recipe thread --plot curves.png
  backprop-doctor train --hidden 32 --epochs 3 --seed 7 --save weights.npz

\b
Recipes:
  default  128 tanh units, mini-batches of the 60,000 training images, scored on the
           10,000 test images, which it never saw
  thread   64 tanh units, 100 full-batch epochs at rate 0.3 on the 10,000 test images
""",
)
@click.option(
    "--recipe",
    type=click.Choice(["default", "thread"]),
    default="default",
    show_default=True,
    help="What the other options start from.",
)
@click.option("--hidden", type=click.IntRange(min=1), metavar="NUMBER", help="Hidden units.")
@click.option("--epochs", type=click.IntRange(min=1), metavar="NUMBER", help="Passes over the images.")
@click.option("--learning-rate", type=float, callback=_rate, metavar="NUMBER", help="Step size.")
@click.option("--batch-size", type=click.IntRange(min=0), metavar="NUMBER", help="Images a step; 0 for all at once.")
@click.option("--split", type=click.Choice(["train", "test"]), help="Which images to train on.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="NUMBER", help="Randomness.")
@click.option("--plot", metavar="FILE", help="Draw accuracy and loss by epoch (needs matplotlib).")
@click.option("--save", metavar="FILE.npz", help="Write the parameters.")
def train(recipe: str, plot: str | None, save: str | None, **options: Any) -> int:
    """Train the reference network on MNIST.

    One hidden layer of tanh units, softmax and cross-entropy, with backpropagation written out by hand in
    backprop_doctor/trainer.py: what right looks like.
    """
    _can_write(plot, "--plot")
    _can_write(save, "--save")
    if save and not save.endswith(".npz"):
        raise UsageError(f"--save {save}: the name has to end with .npz")
    if plot:
        _matplotlib()
    from dataclasses import replace

    from backprop_doctor import trainer

    names = {"split": "train_on"}
    changes = {names.get(key, key): value for key, value in options.items() if value is not None}
    wanted = replace(trainer.RECIPES[recipe], **changes)
    started = time.perf_counter()
    history: list[Epoch] = []
    network = None
    try:
        with _Progress() as progress:
            for epoch, trained in trainer.train(wanted, on_batch=progress):
                network = trained
                history.append(epoch)
                progress.say(
                    f"epoch {epoch.number:>{len(str(wanted.epochs))}}  loss {epoch.loss:.4f}  "
                    f"accuracy {epoch.accuracy:7.2%}  {epoch.seconds:.2f} s"
                )
    except KeyboardInterrupt:
        if not history:
            raise
        click.echo(f"stopped after {len(history)} of {wanted.epochs} epochs", err=True)
    click.echo(_sentence(wanted, history[-1], time.perf_counter() - started))
    if save and network is not None:
        trainer.save(Path(save), network)
        click.echo(f"parameters: {save}")
    if plot:
        _draw(history, plot)
        click.echo(f"curves: {plot}")
    return 0


def _sentence(recipe: Recipe, last: Epoch, seconds: float) -> str:
    what = f"accuracy {last.accuracy:.2%} on the 10,000 test images"
    if recipe.train_on == "test":
        return (
            f"{what}, which are the images it was trained on: it says how well they were learned, "
            f"not how well others would be recognised ({seconds:.1f} s)"
        )
    return f"{what}, which it never saw in training ({seconds:.1f} s)"


class _Progress:
    """A bar on stderr while a terminal is there to see it."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._next = 0.0

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def __call__(self, done: int, of: int) -> None:
        if not self._shown or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 0.1
        filled = 30 * done // of
        click.echo(f"\r[{'#' * filled}{'-' * (30 - filled)}] {done / of:4.0%}", nl=False, err=True)

    def say(self, line: str) -> None:
        self._clear()
        click.echo(line)

    def _clear(self) -> None:
        if self._shown:
            click.echo(f"\r{' ' * 40}\r", nl=False, err=True)


def _can_write(path: str | None, option: str) -> None:
    if path is None:
        return
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise UsageError(f"{option} {path}: there is no folder {folder}")
    if os.path.isdir(path) or not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise UsageError(f"{option} {path}: cannot be written")


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise UsageError('--plot needs matplotlib: pip install "backprop-doctor[plot]"') from error
    matplotlib.use("Agg")
    return matplotlib


def _draw(history: list[Epoch], path: str) -> None:
    _matplotlib()
    from matplotlib import pyplot

    numbers = [epoch.number for epoch in history]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    marker = "o" if len(numbers) < 15 else ""
    left.plot(numbers, [100 * epoch.accuracy for epoch in history], marker=marker)
    left.set(xlabel="epoch", ylabel="accuracy in %", title="accuracy")
    right.plot(numbers, [epoch.loss for epoch in history], marker=marker, color="tab:orange")
    right.set(xlabel="epoch", ylabel="nats per sample", title="loss (mean cross-entropy)")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise UsageError(f"--plot {path}: {error}") from error
    finally:
        pyplot.close(figure)
