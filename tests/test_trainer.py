"""The reference network: its gradients, what it reaches, and its command."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from backprop_doctor import mnist, trainer
from backprop_doctor.cli import cli


def network_and_data() -> tuple[trainer.Network, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    network = trainer.Network(7, 5, 4, generator, initial_scale=0.5, dtype=np.float64)
    network.hidden_biases += generator.standard_normal((1, 5))
    return network, generator.standard_normal((11, 7)), np.eye(4)[generator.integers(0, 4, 11)]


def test_gradients_agree_with_central_differences() -> None:
    network, images, targets = network_and_data()
    gradients = network.backward(images, targets, *network.forward(images))
    for parameter, gradient in zip(network.parameters, gradients, strict=True):
        assert gradient.shape == parameter.shape
        for place in np.ndindex(parameter.shape):
            losses = []
            for step in (1e-5, -1e-5):
                kept = parameter[place]
                parameter[place] = kept + step
                losses.append(trainer.cross_entropy(network.forward(images)[1], targets))
                parameter[place] = kept
            assert (losses[0] - losses[1]) / 2e-5 == pytest.approx(gradient[place], rel=1e-5, abs=1e-9)


def test_forward_is_what_a_plain_loop_computes() -> None:
    network, images, _ = network_and_data()
    _, probabilities = network.forward(images)
    for row, image in zip(probabilities, images, strict=True):
        hidden = [np.tanh(image @ column + b) for column, b in zip(network.hidden_weights.T, network.hidden_biases[0])]
        powers = [np.exp(hidden @ column + b) for column, b in zip(network.output_weights.T, network.output_biases[0])]
        assert row == pytest.approx(np.array(powers) / sum(powers))


def test_large_weights_overflow_nothing() -> None:
    network, images, targets = network_and_data()
    network.output_weights *= 1e6
    assert np.isfinite(trainer.cross_entropy(network.forward(images)[1], targets))


def test_the_thread_s_recipe_reaches_what_its_network_can() -> None:
    *_, (last, _) = trainer.train(trainer.RECIPES["thread"])
    assert 0.885 <= last.accuracy <= 0.90


def test_the_default_recipe_recognises_images_it_never_saw() -> None:
    *_, (last, _) = trainer.train(trainer.RECIPES["default"])
    assert last.accuracy >= 0.97


def test_a_seed_gives_the_same_network_again() -> None:
    recipe = replace(trainer.RECIPES["thread"], epochs=2, seed=5)
    one, other = ([n.hidden_weights.copy() for _, n in trainer.train(recipe)] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_command_says_which_images_it_scored(tmp_path: Path) -> None:
    file = tmp_path / "weights.npz"
    arguments = ["train", "--recipe", "thread", "--epochs", "2", "--save", str(file)]
    done = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert done.exception is None
    assert "epoch 2" in done.output
    assert "which are the images it was trained on" in done.output
    assert np.load(file)["hidden_weights"].shape == (784, 64)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--learning-rate", "nan"], "nan is not a number above 0"),
        (["--epochs", "0"], "0 is not in the range"),
        (["--save", "nowhere/weights.npz"], "there is no folder"),
        (["--save", "weights.txt"], "has to end with .npz"),
    ],
)
def test_bad_values_are_refused_before_training(arguments: list[str], sentence: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "backprop_doctor", "train", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "epoch 1" not in done.stdout


def test_curves_are_drawn_where_matplotlib_is(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / "curves.png"
    command = [sys.executable, "-m", "backprop_doctor", "train", "--recipe", "thread", "--epochs", "2"]
    subprocess.run([*command, "--plot", str(file)], check=True, capture_output=True)
    assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", list(mnist.CHECKSUMS))
def test_the_packaged_data_is_what_its_authors_published(name: str) -> None:
    assert mnist.checksum(name) == mnist.CHECKSUMS[name]
