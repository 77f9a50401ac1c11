"""The packaged MNIST behind other libraries' loaders, where the library or the file is not there.

Modules that can be imported are never replaced.  How many images are served is set for each run, so
that the same program can be asked with 97 images or with all of them.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib.abc
import importlib.machinery
import importlib.util
import pickle
import re
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import numpy as np

from backprop_doctor import mnist
from backprop_doctor.mnist import load

__all__ = ["StandIns"]

_PLOTTING = ("matplotlib", "seaborn", "plotly", "pylab", "IPython", "cv2", "bokeh", "tqdm")


class Absorber:
    """Takes any call, attribute, index or unpacking and does nothing: a missing plot library."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self

    def __getitem__(self, key: Any) -> Any:
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        return iter((self, self))

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def flat(self) -> Any:
        """Axes grids are walked with ``.flat``."""
        return iter(())

    ravel = flatten = lambda self: [self] * 100


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Serves MNIST through the loaders people use.

    Attributes
    ----------
    used : list of str
        Sentences for the report, in order of first use.
    """

    def __init__(self, scratch: Path) -> None:
        self.used: list[str] = []
        self._scratch = scratch
        self._train, self._test = 97, 83
        self._makers: dict[str, Callable[[ModuleType], None]] = {
            "tensorflow": self._tensorflow,
            "keras": self._keras,
            "sklearn": self._sklearn,
            "torchvision": self._torchvision,
            "mnist": self._mnist,
            "mlxtend": self._plain,
            "mnist_loader": self._mnist_loader,
            **dict.fromkeys(_PLOTTING, self._plot),
        }
        self._absent: dict[str, bool] = {}

    @contextlib.contextmanager
    def serving(self, train: int, test: int) -> Iterator[None]:
        """Serve so many training and test images while the context lasts."""
        self._train, self._test = train, test
        sys.meta_path.append(self)
        packaged = mnist.load
        mnist.load = self._own  # type: ignore[assignment]
        try:
            yield
        finally:
            mnist.load = packaged
            sys.meta_path.remove(self)

    def withdraw(self) -> None:
        """Take all stand-in modules out of this process again."""
        for name, module in list(sys.modules.items()):
            if getattr(getattr(module, "__spec__", None), "loader", None) is self:
                del sys.modules[name]

    def _own(self, split: Literal["train", "test"], count: int | None = None) -> Any:
        """The packaged set itself, for programs that use it by name."""
        available = self._train if split == "train" else self._test
        return load(split, min(count or available, available))

    # -- modules ---------------------------------------------------------------------------------------

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        """Claim modules that nothing else could find."""
        top = name.partition(".")[0]
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if top in self._makers else None

    def create_module(self, spec: Any) -> ModuleType | None:
        """Use the default module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Fill a stand-in module."""
        top = module.__name__.partition(".")[0]
        module.__dict__["__getattr__"] = lambda name: self._attribute(module, name)
        self._makers[top](module)

    def _attribute(self, module: ModuleType, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        top = module.__name__.partition(".")[0]
        if top in _PLOTTING:
            return Absorber()
        try:
            return importlib.import_module(f"{module.__name__}.{name}")
        except ImportError as error:
            raise AttributeError(f"{module.__name__} is not installed and its stand-in has no {name}") from error

    def _say(self, sentence: str) -> None:
        if sentence not in self.used:
            self.used.append(sentence)

    def load_data(self, *_: Any, **__: Any) -> Any:
        """``((x_train, y_train), (x_test, y_test))`` as Keras gives it."""
        copies = [tuple(a.copy() for a in load(s, n)) for s, n in self._counts()]
        return tuple(copies)

    def _counts(self) -> tuple[tuple[str, int], ...]:
        return (("train", self._train), ("test", self._test))

    def _flat(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """All images as rows, the training ones first."""
        (x, y), (u, v) = self.load_data()
        return np.concatenate([x, u]).reshape(-1, 784), np.concatenate([y, v])

    def _plain(self, module: ModuleType) -> None:
        pass

    def _plot(self, module: ModuleType) -> None:
        if module.__name__.startswith("tqdm"):
            module.tqdm = module.trange = lambda it=(), *a, **k: range(it) if isinstance(it, int) else it  # type: ignore[attr-defined]

    def _tensorflow(self, module: ModuleType) -> None:
        name = module.__name__
        if name == "tensorflow":
            self._say("tensorflow is not installed: its MNIST loader was answered with the packaged MNIST")
        self._keras_parts(module, name)

    def _keras(self, module: ModuleType) -> None:
        if module.__name__ == "keras":
            self._say("keras is not installed: its MNIST loader was answered with the packaged MNIST")
        self._keras_parts(module, module.__name__)

    def _keras_parts(self, module: ModuleType, name: str) -> None:
        if name.endswith("datasets.mnist"):
            module.load_data = self.load_data  # type: ignore[attr-defined]
        if name.endswith(("utils", "np_utils")):
            module.to_categorical = _to_categorical  # type: ignore[attr-defined]

    def _sklearn(self, module: ModuleType) -> None:
        if module.__name__ == "sklearn.datasets":
            module.fetch_openml = self._fetch_openml  # type: ignore[attr-defined]
            module.fetch_mldata = self._fetch_openml  # type: ignore[attr-defined]
            module.make_moons = _make_moons  # type: ignore[attr-defined]
        if module.__name__ == "sklearn.model_selection":
            module.train_test_split = _train_test_split  # type: ignore[attr-defined]
        if module.__name__ == "sklearn.metrics":
            module.accuracy_score = lambda a, b: float(np.mean(np.asarray(a) == np.asarray(b)))  # type: ignore[attr-defined]
        if module.__name__ == "sklearn.preprocessing":
            module.OneHotEncoder = _OneHot  # type: ignore[attr-defined]
            module.LabelBinarizer = _OneHot  # type: ignore[attr-defined]
            module.StandardScaler = _Scaler  # type: ignore[attr-defined]

    def _fetch_openml(self, *_: Any, return_X_y: bool = False, **__: Any) -> Any:
        self._say("sklearn is not installed: fetch_openml was answered with the packaged MNIST")
        x, y = self._flat()
        data, target = x.astype(np.float64), np.array([str(d) for d in y], dtype=object)
        return (data, target) if return_X_y else _Bunch(data=data, target=target)

    def _torchvision(self, module: ModuleType) -> None:
        if module.__name__ == "torchvision.datasets":
            self._say("torchvision is not installed: its MNIST was answered with the packaged MNIST")
            module.MNIST = self._torch_mnist  # type: ignore[attr-defined]
        if module.__name__ == "torchvision.transforms":
            module.__dict__["__getattr__"] = lambda name: Absorber()

    def _torch_mnist(self, root: Any = None, train: bool = True, **_: Any) -> Any:
        x, y = self.load_data()[0 if train else 1]
        return SimpleNamespace(data=_Tensor(x), targets=_Tensor(y), train_data=_Tensor(x), train_labels=_Tensor(y))

    def _mnist(self, module: ModuleType) -> None:
        self._say("the module mnist is not installed: it was answered with the packaged MNIST")
        for index, split in enumerate(("train", "test")):
            setattr(module, f"{split}_images", lambda i=index: self.load_data()[i][0])
            setattr(module, f"{split}_labels", lambda i=index: self.load_data()[i][1])
        stand_ins = self

        class MNIST:
            def __init__(self, *_: Any, **__: Any) -> None:
                pass

            def load_training(self) -> Any:
                x, y = stand_ins.load_data()[0]
                return x.reshape(-1, 784).tolist(), y.tolist()

            def load_testing(self) -> Any:
                x, y = stand_ins.load_data()[1]
                return x.reshape(-1, 784).tolist(), y.tolist()

        module.MNIST = MNIST  # type: ignore[attr-defined]

    def _mnist_loader(self, module: ModuleType) -> None:
        self._say("mnist_loader is not there: it was answered with the packaged MNIST")

        def load_data_wrapper() -> Any:
            (x, y), (u, v) = self.load_data()
            train = [(p.reshape(784, 1) / 255, np.eye(10)[d].reshape(10, 1)) for p, d in zip(x, y, strict=True)]
            test = [(p.reshape(784, 1) / 255, int(d)) for p, d in zip(u, v, strict=True)]
            return train, test, test

        module.load_data_wrapper = load_data_wrapper  # type: ignore[attr-defined]

    # -- files -------------------------------------------------------------------------------------------

    def file_for(self, path: str) -> str | None:
        """A generated file in place of a usual MNIST file that is not there, or None."""
        name = Path(path).name.lower()
        kind = next((kind for pattern, kind in _FILES if re.fullmatch(pattern, name)), None)
        if kind is None:
            return None
        self._say(f"{Path(path).name} is not there: it was answered with the packaged MNIST")
        target = self._scratch / "standins" / f"{self._train}-{self._test}" / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            getattr(self, f"_write_{kind}")(target, name)
        return str(target)

    def _write_csv(self, target: Path, name: str) -> None:
        x, y = self.load_data()["test" in name]
        rows = np.column_stack([y, x.reshape(len(x), -1)])
        header = ",".join(["label", *(f"pixel{i}" for i in range(784))])
        kaggle_test = name == "test.csv"
        if kaggle_test:
            rows, header = rows[:, 1:], header.partition(",")[2]
        np.savetxt(target, rows, fmt="%d", delimiter=",", header=header, comments="")

    def _write_npz(self, target: Path, name: str) -> None:
        (x, y), (u, v) = self.load_data()
        with target.open("wb") as stream:
            np.savez(stream, x_train=x, y_train=y, x_test=u, y_test=v)

    def _write_pickle(self, target: Path, name: str) -> None:
        (x, y), (u, v) = self.load_data()
        train, test = (((a.reshape(-1, 784) / 255).astype(np.float32), b.astype(np.int64)) for a, b in ((x, y), (u, v)))
        data = pickle.dumps((train, test, test))
        target.write_bytes(gzip.compress(data, 1) if name.endswith("gz") else data)

    def _write_idx(self, target: Path, name: str) -> None:
        x, y = self.load_data()[0 if name.startswith("train") else 1]
        if "images" in name:
            data = struct.pack(">IIII", 2051, len(x), 28, 28) + x.tobytes()
        else:
            data = struct.pack(">II", 2049, len(y)) + y.tobytes()
        target.write_bytes(gzip.compress(data, 1) if name.endswith("gz") else data)


_FILES = (
    (r"(mnist[_-])?(train|test)(ing)?\.csv", "csv"),
    (r"mnist\.npz", "npz"),
    (r"mnist\.pkl(\.gz)?", "pickle"),
    (r"(train|t10k)-(images|labels)[.-]idx[13]-ubyte(\.gz)?", "idx"),
)


class _Bunch(dict[str, Any]):
    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error


class _Tensor(np.ndarray[Any, Any]):
    def __new__(cls, values: Any) -> Any:
        return np.asarray(values).view(cls)

    def numpy(self) -> Any:
        """As a plain array."""
        return np.asarray(self)


class _OneHot:
    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def fit(self, y: Any) -> Any:
        self.categories_ = [np.unique(np.asarray(y))]
        return self

    def transform(self, y: Any) -> Any:
        values = np.asarray(y).reshape(-1, 1)
        return _Dense((values == self.categories_[0]).astype(np.float64))

    def fit_transform(self, y: Any) -> Any:
        return self.fit(y).transform(y)


class _Dense(np.ndarray[Any, Any]):
    def __new__(cls, values: Any) -> Any:
        return np.asarray(values).view(cls)

    def toarray(self) -> Any:
        """As a plain array."""
        return np.asarray(self)


class _Scaler:
    def fit(self, x: Any) -> Any:
        self.mean_, self.scale_ = np.mean(x, axis=0), np.std(x, axis=0)
        self.scale_ = np.where(self.scale_ == 0, 1.0, self.scale_)
        return self

    def transform(self, x: Any) -> Any:
        return (x - self.mean_) / self.scale_

    def fit_transform(self, x: Any) -> Any:
        return self.fit(x).transform(x)


def _to_categorical(y: Any, num_classes: int | None = None, dtype: Any = "float32") -> Any:
    y = np.asarray(y, dtype=int).ravel()
    return np.eye(num_classes or int(y.max()) + 1, dtype=dtype)[y]


def _train_test_split(*arrays: Any, test_size: Any = None, random_state: Any = None, **_: Any) -> Any:
    n = len(arrays[0])
    size = 0.25 if test_size is None else test_size
    k = int(np.ceil(n * size)) if isinstance(size, float) else int(size)
    order = np.random.RandomState(0 if random_state is None else random_state).permutation(n)
    return [part for a in arrays for part in (np.asarray(a)[order[k:]], np.asarray(a)[order[:k]])]


def _make_moons(n_samples: int = 100, *, noise: float | None = None, random_state: Any = None, **_: Any) -> Any:
    n = n_samples // 2
    t, u = np.linspace(0, np.pi, n), np.linspace(0, np.pi, n_samples - n)
    x = np.concatenate([np.c_[np.cos(t), np.sin(t)], np.c_[1 - np.cos(u), 0.5 - np.sin(u)]])
    y = np.r_[np.zeros(n, int), np.ones(n_samples - n, int)]
    random = np.random.RandomState(random_state)
    order = random.permutation(n_samples)
    return x[order] + (random.normal(scale=noise, size=x.shape) if noise else 0), y[order]
