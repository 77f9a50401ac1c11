"""Files that only define things: what is called, with what, and that it is said."""

from __future__ import annotations

import itertools
from pathlib import Path

import networks
import pytest

from backprop_doctor import confinement, diagnosis, entry
from backprop_doctor.errors import IdleError
from backprop_doctor.source import Project, Source

FOLDER = Path(__file__).parent.parent / "fixtures" / "entry"

CALLS = {
    "features_first_meaningless_names": "f3(images.T, one_hot.T, 16, 3, 0.1)",
    "integer_labels_class": "network = Network(784, 16, 10, 0.1); network.fit(images, digits, 3)",
    "lists_made_columns": "for _ in range(5): network.learn(images, one_hot)",
    "list_of_pairs": "network = Network([784, 16, 10]); network.descend([(x.reshape(-1, 1), y.reshape(-1, 1))",
    "samples_first_function": "train(images, one_hot, 16, 3, 0.1)",
    "made_with_the_data": "network = Network(images, one_hot); network.train(3)",
    "points_of_two_features": "network = Network(); network.train(points.T, sides.reshape(1, -1))",
    "separate_methods": "for _ in range(5): output = network.forward(images); network.backward(one_hot)",
    "returned_gradients": "gradients = network.slopes(images, one_hot)",
    "wrong_bias_axis": "train(images, one_hot, 16, 3, 0.1)",
}


def first_words(text: str, count: int = 12) -> list[str]:
    found = entry.entries(Project([Source("net.py", text)]))
    return [way.words for way in itertools.islice(found, count)]


@pytest.mark.parametrize("name", sorted(CALLS))
def test_what_is_called_is_found_and_stated(name: str) -> None:
    report = networks.diagnosed(FOLDER / f"{name}.py")
    assert any(CALLS[name] in remark for remark in report.remarks)
    assert report.network is not None
    assert len(report.network.parameters) == 4


@pytest.mark.parametrize("name", [*sorted(set(CALLS) - {"integer_labels_class", "wrong_bias_axis"})])
def test_a_healthy_file_is_healthy_when_it_is_called(name: str) -> None:
    report = networks.diagnosed(FOLDER / f"{name}.py")
    assert report.verdict == "healthy"
    assert report.network is not None
    assert {p.verdict for p in report.network.parameters} == {"right"}


def test_nothing_is_said_of_data_that_the_file_did_not_choose() -> None:
    report = networks.diagnosed(FOLDER / "one_sigmoid.py")
    assert report.verdict == "healthy"
    assert not [finding.code for finding in report.findings if finding.severity != "note"]


def test_a_faulty_file_is_faulty_at_its_line_when_it_is_called() -> None:
    report = networks.diagnosed(FOLDER / "wrong_bias_axis.py")
    assert {(f.position.line, f.code[:3]) for f in report.findings if f.severity == "error"} == {(22, "BD3")}


def test_a_call_of_one_s_own_comes_before_all_guesses() -> None:
    path = str(FOLDER / "samples_first_function.py")
    with confinement.for_path(path) as surroundings:
        call = "r = np.random.RandomState(0)\ntrain(r.rand(20, 6), np.eye(3)[r.randint(3, size=20)], 5, 9, 0.5)"
        report = diagnosis.diagnose(path, surroundings, call=call, fix=False)
    assert not any("only defines things" in remark for remark in report.remarks)
    assert report.network is not None
    assert report.network.parameters[0].shape == (6, 5)


def test_a_file_in_which_nothing_trains_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text("def double(x):\n    return 2 * x\n")
    with pytest.raises(IdleError, match="defines double but runs no loop: say what to run, as in --call"):
        networks.diagnosed(path)


def test_parameters_are_told_by_use_and_not_by_name() -> None:
    words = first_words(
        "def f(a, b, c, q, e):\n"
        "    w = np.random.randn(e.shape[1], c)\n"
        "    for _ in range(a):\n"
        "        w = w - b * (e.T @ (e @ w - q))\n",
        count=20,
    )
    assert words[0] == "f(3, 0.1, 16, images, one_hot)"
    assert "f(3, 0.1, 16, one_hot, images)" in words


def test_labels_that_come_first_are_known_by_their_name() -> None:
    words = first_words(
        "def train(y, X):\n"
        "    w = np.zeros((X.shape[1], y.shape[1]))\n"
        "    for _ in range(5):\n"
        "        w -= X.T @ (X @ w - y)\n"
    )
    assert words[0] == "train(one_hot, images)"


def test_names_of_the_program_are_not_overwritten() -> None:
    words = first_words(
        "def one_hot(y):\n    return y\ndef train(X, Y):\n    for _ in range(5):\n        X @ one_hot(Y)\n"
    )
    assert words[0] == "train(images, one_hot_)"


def test_arguments_reach_sys_argv(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    text = (FOLDER / "samples_first_function.py").read_text()
    path.write_text(
        f"{text}\n\nimport argparse\n"
        "parser = argparse.ArgumentParser()\n"
        "parser.add_argument('--width', type=int, default=5)\n"
        "width = parser.parse_args().width\n"
        "train(np.random.rand(20, 6), np.eye(3)[np.arange(20) % 3], width, 9, 0.5)\n"
    )
    widths = []
    for arguments in ((), ("--width", "7")):
        with confinement.for_path(str(path), arguments) as surroundings:
            report = diagnosis.diagnose(str(path), surroundings, fix=False)
        assert report.network is not None
        widths.append(report.network.parameters[0].shape)
    assert widths == [(6, 5), (6, 7)]
