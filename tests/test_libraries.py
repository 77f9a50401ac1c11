"""Arrays of other libraries: PyTorch, pandas, and one that is made here and behaves as CuPy does."""

from __future__ import annotations

import sys
from pathlib import Path

import networks
import numpy as np
import pytest

from backprop_doctor.libraries import kind_of

# A library whose arrays are no numpy arrays: they compute among themselves, and have to be fetched.
LIBRARY = """
import numpy as _np
from numpy import float64, newaxis


class ndarray:
    def __init__(self, data):
        self._data = data

    shape = property(lambda self: self._data.shape)
    ndim = property(lambda self: self._data.ndim)
    dtype = property(lambda self: self._data.dtype)
    T = property(lambda self: ndarray(self._data.T))

    def get(self):
        return self._data

    def __array__(self, *_, **__):
        raise TypeError("use get")

    def __getitem__(self, place):
        return ndarray(self._data[place])

    def __setitem__(self, place, value):
        self._data[place] = _plain(value)

    def sum(self, axis=None, keepdims=False):
        return ndarray(_np.asarray(self._data.sum(axis=axis, keepdims=keepdims)))


def _plain(value):
    return value._data if isinstance(value, ndarray) else value


def _operator(name):
    def operate(self, other):
        return ndarray(getattr(self._data, name)(_plain(other)))

    return operate


for _name in ("add", "sub", "mul", "truediv", "matmul", "pow", "radd", "rsub", "rmul", "rtruediv"):
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))


def asarray(value):
    return ndarray(_np.array(_plain(value)))


def tanh(value):
    return ndarray(_np.tanh(value._data))
"""
PROGRAM = """
import numpy as np
import moonarray as mp

rng = np.random.default_rng(3)
X = mp.asarray(rng.normal(size=(40, 6)))
Y = mp.asarray(rng.normal(size=(40, 2)))
W1 = mp.asarray(rng.normal(size=(6, 5)) * 0.5)
b1 = mp.asarray(np.zeros(5))
W2 = mp.asarray(rng.normal(size=(5, 2)) * 0.5)
b2 = mp.asarray(np.zeros(2))
for epoch in range(20):
    A1 = mp.tanh(X @ W1 + b1)
    A2 = A1 @ W2 + b2
    dA2 = 2 * (A2 - Y) / 40
    dW2 = A1.T @ dA2
    db2 = dA2.sum(axis=0)
    dZ1 = dA2 @ W2.T * (1 - A1**2)
    dW1 = X.T @ dZ1
    db1 = dZ1.sum(axis=0)
    W1 = W1 - 0.1 * dW1
    b1 = b1 - 0.1 * db1
    W2 = W2 - 0.1 * dW2
    b2 = b2 - 0.1 * db2
"""
TENSORS = """
import torch
import torch.nn.functional as F

g = torch.Generator().manual_seed(2)
X = torch.randn(90, 12, generator=g)
Y = (X @ torch.randn(12, 4, generator=g)).argmax(1)
W1 = torch.randn((12, 9), generator=g) * 0.2
b1 = torch.randn(9) * 0.1
W2 = torch.randn((9, 4), generator=g) * 0.1
b2 = torch.randn(4) * 0.1
parameters = [W1, b1, W2, b2]
for step in range(30):
    at = torch.randint(0, X.shape[0], (32,), generator=g)
    Xb, Yb = X[at], Y[at]
    before = Xb @ W1 + b1
    h = torch.tanh(before)
    logits = h @ W2 + b2
    loss = F.cross_entropy(logits, Yb)
    dlogits = F.softmax(logits, 1)
    dlogits[range(32), Yb] -= 1
    dlogits /= 32
    dW2 = h.T @ dlogits
    db2 = dlogits.sum(0)
    dbefore = (1 - h**2) * (dlogits @ W2.T)
    dW1 = Xb.T @ dbefore
    db1 = dbefore.sum(0)
    for p, dp in zip(parameters, [dW1, db1, dW2, db2]):
        p.data += -0.1 * dp
"""
FRAME = """
import numpy as np
import pandas as pd

rng = np.random.default_rng(3)
table = pd.DataFrame(rng.normal(size=(40, 6)), columns=list("abcdef"))
Y = pd.DataFrame(rng.normal(size=(40, 2)), columns=["y", "z"])
X = table[["a", "b", "c"]]
W = rng.normal(size=(3, 2))
c = np.zeros(2)
for epoch in range(20):
    out = X @ W + c
    error = (out.values - Y) / len(X)
    dW = X.T.values @ error.values
    dc = error.sum(axis=0).values
    W = W - 0.1 * dW
    c = c - 0.1 * dc
"""


@pytest.fixture
def moonarray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "moonarray.py").write_text(LIBRARY, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "moonarray", raising=False)


def verdicts(tmp_path: Path, text: str) -> tuple[str, dict[str, str], list[tuple[str, int]]]:
    path = tmp_path / "network.py"
    path.write_text(text, encoding="utf-8")
    report = networks.diagnosed(path)
    assert report.network is not None
    errors = [(f.code, f.position.line) for f in report.findings if f.severity == "error"]
    return report.verdict, {p.name: p.verdict for p in report.network.parameters}, errors


def all_right(*names: str) -> tuple[str, dict[str, str], list[tuple[str, int]]]:
    return "healthy", dict.fromkeys(names, "right"), []


def line_of(text: str, beginning: str) -> int:
    return next(i for i, line in enumerate(text.splitlines(), 1) if line.strip().startswith(beginning))


@pytest.mark.usefixtures("moonarray")
def test_arrays_that_have_to_be_fetched_are_followed(tmp_path: Path) -> None:
    assert verdicts(tmp_path, PROGRAM) == all_right("W1", "b1", "W2", "b2")


@pytest.mark.usefixtures("moonarray")
def test_a_wrong_line_among_arrays_that_have_to_be_fetched_is_found_and_mended(tmp_path: Path) -> None:
    wrong = PROGRAM.replace("(1 - A1**2)", "(1 - A1)")
    verdict, _, errors = verdicts(tmp_path, wrong)
    assert (verdict, [line for _, line in errors]) == ("faulty", [line_of(wrong, "dZ1")])


def test_tensors_without_autograd_are_followed_and_parameters_have_their_names(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    assert verdicts(tmp_path, TENSORS) == all_right("W1", "b1", "W2", "b2")


def test_a_wrong_line_among_tensors_is_found(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    wrong = TENSORS.replace("db1 = dbefore.sum(0)", "db1 = before.sum(0)")
    verdict, _, errors = verdicts(tmp_path, wrong)
    assert (verdict, [line for _, line in errors]) == ("faulty", [line_of(wrong, "db1")])


def test_single_precision_tensors_are_judged_in_double_precision_and_the_default_stays(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_default_dtype()
    path = tmp_path / "network.py"
    path.write_text(TENSORS, encoding="utf-8")
    network = networks.diagnosed(path).network
    assert network is not None
    assert max(p.relative_error or 0.0 for p in network.parameters) < 1e-9
    assert torch.get_default_dtype() == before


def test_frames_are_followed(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    assert verdicts(tmp_path, FRAME) == all_right("W", "c")


@pytest.mark.parametrize(
    "value", [np.zeros(3), np.float64(1.0), [1.0], 2, "text", None], ids=lambda v: type(v).__name__
)
def test_what_is_numpy_s_or_no_array_is_of_no_other_kind(value: object) -> None:
    assert kind_of(type(value)) is None
