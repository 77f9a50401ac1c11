"""Packaged MNIST behind the loaders, files and downloads that programs get it from, and small likenesses of libraries.

A stand-in takes the place of a library that is not installed, or of one that would only cost time here:
those that draw, and TensorFlow or Keras as loaders of data.  Where a program needs more of such a library than
its stand-in has, the stand-in withdraws and the next run has the real one.  How many images are served is set
for each run, so that the same program can be asked with 97 images or with all of them.
"""

from __future__ import annotations

import _pickle
import argparse
import builtins
import collections
import collections.abc
import contextlib
import gzip
import importlib
import importlib.abc
import importlib.machinery
import io
import itertools
import os
import pickle
import re
import shutil
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import numpy as np

from backprop_doctor import mnist
from backprop_doctor.mnist import load
from backprop_doctor.readings import Readings, text_of

__all__ = ["StandIns", "where_from"]

Array = np.ndarray[Any, Any]

DRAWING = frozenset(
    {
        "IPython",
        "PIL",
        "bokeh",
        "colorama",
        "colorful",
        "cv2",
        "google",
        "graphviz",
        "ipywidgets",
        "livelossplot",
        "loguru",
        "matplotlib",
        "mpl_toolkits",
        "networkx",
        "plotly",
        "prettytable",
        "progressbar",
        "pylab",
        "rich",
        "seaborn",
        "tabulate",
        "termcolor",
        "terminaltables",
        "visdom",
    }
)
# Served even where the real one is installed: it would cost time, open windows or compile what must be probed.
FIRST = frozenset(
    {"bokeh", "keras", "matplotlib", "mpl_toolkits", "numba", "plotly", "pylab", "seaborn", "tensorflow", "tqdm"}
)
# What is made up for an argument of the command line that a program cannot do without.
VALUES: dict[Any, str] = {int: "16", float: "0.1"}
# Where sklearn keeps what a network is compared with.
BASELINES = frozenset(
    f"sklearn.{name}"
    for name in ("ensemble", "linear_model", "naive_bayes", "neighbors", "neural_network", "svm", "tree")
)
# What is replaced in libraries that are really there.
LOADERS = frozenset(
    {"File", "FashionMNIST", "MNIST", "fetch_mldata", "fetch_openml", "get", "get_file", "load_data", "loadmat",
     "read_csv", "urlopen", "urlretrieve"}
)  # fmt: skip
# Only of names known to be right is said how to install them: a guess would install a stranger's code.
PACKAGES = {name: name for name in (
    "autograd", "cupy", "datasets", "emnist", "gym", "h5py", "idx2numpy", "imageio", "jax", "joblib", "keras",
    "matplotlib", "mlxtend", "nltk", "nnfs", "numba", "openpyxl", "pandas", "requests", "scipy", "seaborn",
    "statsmodels", "sympy", "tensorflow", "tensorflow_datasets", "torch", "torchvision", "tqdm", "wandb", "wget",
)} | {"PIL": "pillow", "cv2": "opencv-python", "mnist": "python-mnist", "skimage": "scikit-image",
      "sklearn": "scikit-learn", "yaml": "pyyaml"}  # fmt: skip
COURSES = (
    (r"(planar|lr|dnn|dnn_app|opt|reg|init|gc|cnn|rnn|w\da?\d?)_utils\w*|testCases\w*|public_tests|test_utils",
     "the deep learning courses of Coursera"),
    (r"cs231n", "the course CS231n"),
    (r"common|dataset", "the book 'Deep Learning from Scratch'"),
    (r"mnist_loader|network2?", "the book 'Neural Networks and Deep Learning'"),
)  # fmt: skip


def perf_counter() -> float:
    """The clock of its time: a run has one of its own."""
    return time.perf_counter()


# Names that modules have given up, and what stood behind them.
REMOVED: dict[ModuleType, dict[str, Any]] = {
    np: {
        "float": float, "int": int, "bool": bool, "object": object, "str": str, "complex": complex, "long": int,
        "unicode": str, "float_": np.float64, "complex_": np.complex128, "Inf": np.inf, "Infinity": np.inf,
        "infty": np.inf, "NaN": np.nan, "NAN": np.nan, "product": np.prod, "cumproduct": np.cumprod,
        "alltrue": np.all, "sometrue": np.any, "row_stack": np.vstack, "mat": np.asmatrix,
        "asfarray": partial(np.asarray, dtype=np.float64),
    },
    collections: {name: getattr(collections.abc, name) for name in collections.abc.__all__},
    time: {"clock": perf_counter},
}  # fmt: skip
# Helpers whose names leave no doubt what they compute.
KNOWN: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "sigmoid": ("1 / (1 + exp(-x))", lambda x: 1 / (1 + np.exp(-x))),
    "relu": ("max(0, x)", lambda x: np.maximum(0, x)),
}
# Python keeps pickles of its own.
_OWN_LIBRARY = os.path.dirname(os.__file__) + os.sep
# From so many rows on, arrays are taken for collections of samples.
LONG = 5000
# So many things in a pickle are parts of a data set, not samples.
TOGETHER = 16
OPENML_NUMBERS = (554, 40996)

# How many pictures the data sets have that go with the deep learning courses of Coursera.
COURSE_PICTURES = {
    "catvnoncat": {"train": 209, "test": 50, "classes": 2},
    "happy": {"train": 600, "test": 150, "classes": 2},
    "signs": {"train": 1080, "test": 120, "classes": 6},
}

IDX = r"(train|t10k|test)[-_.]?(images|labels)[-_.]idx[13][-_.]ubyte(\.gz)?"
FILES = (
    (rf"((fashion[-_]?)?mnist[-_]?)?(train|test)(ing)?([-_]\d+k?)?\.csv|({IDX}|.*mnist.*)\.csv", "csv"),
    (r"(fashion[-_])?mnist\.npz", "npz"),
    (r"mnist\.pkl(\.gz)?", "pickle"),
    (IDX, "idx"),
)
MATRICES = (r"mnist[-_]original(\.mat)?", r"(machine-learning-)?ex[34]data1(\.mat)?")


def where_from(module: str) -> str:
    """What to do about a module that is not there."""
    top = module.partition(".")[0]
    if top in PACKAGES:
        return f"python -m pip install {PACKAGES[top]}, where backprop-doctor is installed"
    course = next((name for pattern, name in COURSES if re.fullmatch(pattern, top)), None)
    known = f"it seems to belong to {course}; " if course else ""
    return f"{known}put {top}.py, or the folder {top}, beside the program"


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Serves MNIST through the loaders people use.

    Parameters
    ----------
    scratch : Path
        Where generated files go.
    folder : Path, optional
        The user's folder: modules there are never stood in for.
    helpers : frozenset of str
        Modules that an empty one may stand in for where they are missing; a few functions of activation that go
        by well-known names are answered.

    Attributes
    ----------
    used : list of str
        Sentences for the report, in order of first use.
    withdrawn : set of str
        Libraries whose stand-in was not enough; the next run has the real ones.
    admitted : dict of str to str
        Modules that are not there, for which empty ones stand in, and where they were missed: whether they are
        used is seen by running.
    is_asked : bool
        Whether any run was served a number of images: else more of them would change nothing.
    """

    def __init__(self, scratch: Path, folder: Path | None = None, helpers: frozenset[str] = frozenset()) -> None:
        self._helpers = helpers - set(PACKAGES)
        self.admitted: dict[str, str] = {}
        self._refused: set[str] = {"torch"}  # its randomness is frozen, and that asks for the real one
        self.used: list[str] = []
        self.withdrawn: set[str] = set()
        self._scratch = scratch
        self._folder = folder
        self.is_asked = False
        self._sizes = (97, 83)
        self._searching = False
        self._absent: set[tuple[object, ...]] = set()
        self._modules = _with_parents(self._contents())
        self._tops = DRAWING | {name.partition(".")[0] for name in self._modules}
        self._originals: dict[tuple[str, str], Any] = {}
        self._files: dict[tuple[str, bool, int, int], str | None] = {}
        self._pickles: dict[tuple[str, int, int, int], bytes | None] = {}
        self._readings = Readings()
        self._cut_lines: dict[tuple[str, int], int] = {}

    @property
    def _train(self) -> int:
        self.is_asked = True
        return self._sizes[0]

    @property
    def _test(self) -> int:
        self.is_asked = True
        return self._sizes[1]

    @contextlib.contextmanager
    def serving(self, train: int, test: int) -> Iterator[None]:
        """Serve so many training and test images while the context lasts."""
        if self._sizes != (train, test):
            self._cut_lines.clear()
        self._sizes = (train, test)
        for name in [n for n in sys.modules if self.withdrawn and n.partition(".")[0] in self.withdrawn]:
            if self._is_ours(sys.modules[name]):
                del sys.modules[name]
        for name in self._modules.keys() & sys.modules.keys():
            if not self._is_ours(sys.modules[name]):
                self._override(sys.modules[name])
        sys.meta_path.insert(0, self)
        packaged = mnist.load
        mnist.load = self._own  # type: ignore[assignment]
        lookups = {module: module.__dict__.get("__getattr__") for module in REMOVED}
        for module, lookup in lookups.items():
            setattr(module, "__getattr__", partial(self._removed, module, lookup))  # noqa: B010 - mypy knows none such
        # What IPython gives to every cell; scripts made from notebooks call it too.
        shell = {"get_ipython": lambda: Absorber("IPython"), "display": Absorber("IPython")}
        shell = {name: value for name, value in shell.items() if not hasattr(builtins, name)}
        builtins.__dict__.update(shell)
        unpickle, readers = pickle.load, {name: getattr(np, name) for name in ("loadtxt", "genfromtxt")}
        pickle.load = _pickle.load = partial(self._load_pickle, unpickle)
        for name, reader in readers.items():
            setattr(np, name, self._readings.once(reader))
        parse = argparse.ArgumentParser.parse_known_args
        argparse.ArgumentParser.parse_known_args = self._parsing(parse)  # type: ignore[method-assign]
        try:
            yield
        finally:
            argparse.ArgumentParser.parse_known_args = parse  # type: ignore[method-assign]
            pickle.load = _pickle.load = unpickle
            for name, reader in readers.items():
                setattr(np, name, reader)
            for name in shell:
                delattr(builtins, name)
            mnist.load = packaged
            for module, lookup in lookups.items():
                if lookup is None:
                    delattr(module, "__getattr__")
                else:
                    setattr(module, "__getattr__", lookup)  # noqa: B010
            sys.meta_path.remove(self)
            for (name, attribute), original in self._originals.items():
                setattr(sys.modules[name], attribute, original)
            self._originals.clear()

    def _removed(self, module: ModuleType, lookup: Any, name: str) -> Any:
        """What a name meant that a module does not have any more."""
        known = REMOVED[module]
        if name not in known:
            if lookup is None:
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            return lookup(name)
        short = "np" if module is np else module.__name__
        meaning = _meaning(module, known[name])
        removed = f"{short}.{name} was removed from {module.__name__}"
        self._say(f"{removed}: it was answered with what it stood for, {meaning}")
        return known[name]

    def _parsing(self, parse: Any) -> Any:
        """Read the command line; where it is empty, what the program cannot do without is made up."""

        def parse_known_args(parser: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
            words = sys.argv[1:] if args is None else list(args)
            made = [] if words else _made_up_words(parser)
            if made:
                self._say(f"{' '.join(made)} on the command line was made up; --args gives something else")
            return parse(parser, [*words, *made], namespace)

        return parse_known_args

    def withdraw(self) -> None:
        """Take all stand-in modules out of this process again."""
        for name, module in list(sys.modules.items()):
            if self._is_ours(module):
                del sys.modules[name]

    def retried(self, lacking: str, place: str) -> bool:
        """Whether another run may get further than to a module that is not there.

        Many are imported and never used: an empty module does for them.  Where it does not, the program is left
        with what it was without.
        """
        if lacking in self.admitted:
            del self.admitted[lacking]
            self._refused.add(lacking)
            self.used = [sentence for sentence in self.used if not sentence.startswith(f"{lacking} is not there")]
            for name in [name for name in sys.modules if name.partition(".")[0] == lacking]:
                del sys.modules[name]
            return True
        if lacking in self._refused | self._helpers or self._find_real(lacking, None) is not None:
            return False
        self.admitted[lacking] = place
        return True

    def _own(self, split: Literal["train", "test"], count: int | None = None) -> Any:
        """The packaged set itself, for programs that use it by name."""
        available = self._train if split == "train" else self._test
        return load(split, min(count or available, available))

    def _say(self, sentence: str) -> None:
        if sentence not in self.used:
            self.used.append(sentence)

    # -- modules -------------------------------------------------------------------------------------------

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        """Claim the modules that are stood in for; in real ones, replace the loaders of data."""
        top = name.partition(".")[0]
        if self._searching:
            return None
        if top in {*self._helpers, *self.admitted} and top not in self._tops:
            return None if self._find_real(top, None) else importlib.machinery.ModuleSpec(name, self, is_package=True)
        if top not in self._tops:
            return None
        real = self._find_real(name, path)
        if real is not None and (top not in FIRST or top in self.withdrawn or self._is_users(real)):
            if name in self._modules and real.loader is not None:
                real.loader = _Overriding(real.loader, self._override)
            return real
        if name in self._modules or top in DRAWING:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        if self._is_ours(sys.modules.get(top)):
            if real is None and self._find_real(top, None) is None:
                return importlib.machinery.ModuleSpec(name, self, is_package=True)
            raise self._lacking(top, name)
        return None

    def create_module(self, spec: Any) -> ModuleType | None:
        """Use the default module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Fill a stand-in module."""
        name = module.__name__
        if name.partition(".")[0] in {*self._helpers, *self.admitted} - self._tops:
            module.__dict__["__getattr__"] = lambda key: self._help(name, key)
            self._say(f"{name.partition('.')[0]} is not there: an empty module stood in for it")
            return
        contents = self._modules.get(name, {})
        module.__dict__.update({"__version__": "0.0", "__getattr__": lambda key: self._attribute(name, key)} | contents)
        top = name.partition(".")[0]
        if any(key not in LOADERS for key in contents) and top in ("pandas", "scipy", "sklearn"):
            self._say(f"{top} is not installed: the few helpers that the program uses of it were stood in for")

    def _attribute(self, module: str, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if f"{module}.{name}" in self._modules:
            return importlib.import_module(f"{module}.{name}")
        top = module.partition(".")[0]
        if top in DRAWING:
            return getattr(Absorber(module), name)
        if self._find_real(top, None) is None:
            if module in BASELINES and name[0].isupper():
                self._say(f"sklearn is not installed: {name} was stood in for by one that names the commonest class")
                return Baseline
            return _Unavailable(name, partial(self._lacking, top, f"{module}.{name}"))
        raise self._lacking(top, f"{module}.{name}")

    def _help(self, module: str, name: str) -> Any:
        """What a helper that is missing may have been."""
        if name.startswith("__"):
            raise AttributeError(name)
        if name in KNOWN:
            self._say(f"{module}.{name} was answered with what goes by that name, {KNOWN[name][0]}")
            return KNOWN[name][1]
        return _Unavailable(name, partial(self._lacking, module.partition(".")[0], name))

    def _lacking(self, top: str, name: str) -> ModuleNotFoundError:
        if self._find_real(top, None) is not None:
            self.withdrawn.add(top)
        return ModuleNotFoundError(f"No module named {top!r}, and its stand-in has no {name}", name=top)

    def _find_real(self, name: str, path: Sequence[str] | None) -> Any:
        # Each run asks again, and the answer takes a look into every folder.
        asked = name, *(sys.path if path is None else path)
        if asked in self._absent:
            return None
        self._searching = True
        try:
            finders = [finder for finder in sys.meta_path if finder is not self]
            found = (finder.find_spec(name, path) for finder in finders if hasattr(finder, "find_spec"))
            spec = next((spec for spec in found if spec is not None), None)
        finally:
            self._searching = False
        if spec is None:
            self._absent.add(asked)
        return spec

    def _is_ours(self, module: ModuleType | None) -> bool:
        return getattr(getattr(module, "__spec__", None), "loader", None) is self

    def _is_users(self, spec: Any) -> bool:
        origin = spec.origin or ""
        return (
            self._folder is not None and "site-packages" not in origin and origin.startswith(f"{self._folder}{os.sep}")
        )

    def _override(self, module: ModuleType) -> None:
        """Put our loaders of data into a real module."""
        if self._folder is not None and self._is_users(module.__spec__):
            return
        for attribute, ours in self._modules[module.__name__].items():
            if attribute in LOADERS and hasattr(module, attribute):
                self._originals.setdefault((module.__name__, attribute), getattr(module, attribute))
                setattr(module, attribute, ours)

    def _original(self, module: str, attribute: str, wanted: str) -> Any:
        """What an overridden loader was, for data that is not ours."""
        with contextlib.suppress(KeyError):
            return self._originals[module, attribute]
        top = module.partition(".")[0]
        raise ModuleNotFoundError(f"No module named {top!r}, and its stand-in has no data {wanted}", name=top)

    def _contents(self) -> dict[str, dict[str, Any]]:
        """What each module that is stood in for, or overridden, holds."""
        found: dict[str, dict[str, Any]] = {
            "dataset.mnist": {"load_mnist": self._load_mnist},
            "datasets": {"load_dataset": self._load_dataset},
            "google.colab": {name: Absorber("google.colab") for name in ("auth", "drive", "files", "output")},
            "h5py": {"File": self._h5_file},
            "idx2numpy": {"convert_from_file": _read_idx},
            "loguru": {"logger": Log("loguru")},
            "mlxtend.data": {"mnist_data": self._mnist_data},
            "mnist": self._mnist(),
            "mnist_loader": {"load_data": self._load_tuples, "load_data_wrapper": self._load_pairs},
            "nnfs": {"init": lambda *_, **__: None},
            "nnfs.datasets": {"spiral_data": _spirals, "vertical_data": _spirals, "sine_data": _sine},
            "numba": {"jit": _undecorated, "njit": _undecorated, "prange": range},
            "pandas": {
                "DataFrame": Frame,
                "Series": Frame,
                "get_dummies": _one_hot_frame,
                "read_csv": self._read_csv,
            },
            "requests": {"get": self._get},
            "progressbar": {"Bar": Absorber("progressbar"), "ProgressBar": lambda *_, **__: ProgressBar},
            "rich.progress": {"track": ProgressBar},
            "scipy.io": {"loadmat": self._loadmat},
            "scipy.signal": {"convolve2d": _convolve2d, "correlate2d": _correlate2d},
            "scipy.stats": {"truncnorm": _TruncatedNormal},
            "scipy.special": {"expit": _expit, "softmax": _softmax, "logsumexp": _logsumexp},
            "sklearn.datasets": {
                "fetch_mldata": self._fetch_mldata,
                "fetch_openml": self._fetch_openml,
                "load_boston": self._load_boston,
                "load_breast_cancer": lambda **how: self._made_up("load_breast_cancer", (212, 357), 30, **how),
                "load_digits": self._load_digits,
                "load_iris": lambda **how: self._made_up("load_iris", (50, 50, 50), 4, **how),
                "load_wine": lambda **how: self._made_up("load_wine", (59, 71, 48), 13, **how),
                "make_blobs": _make_blobs,
                "make_circles": _make_circles,
                "make_gaussian_quantiles": _make_gaussian_quantiles,
                "make_classification": _make_classification,
                "make_moons": _make_moons,
                "make_regression": _make_regression,
            },
            "sklearn.metrics": {
                "accuracy_score": lambda true, predicted: float(np.mean(np.asarray(true) == np.asarray(predicted))),
                "classification_report": lambda *_, **__: "",
                "confusion_matrix": _confusion_matrix,
                "mean_absolute_error": lambda true, predicted: float(np.mean(np.abs(_difference(true, predicted)))),
                "mean_squared_error": lambda true, predicted: float(np.mean(_difference(true, predicted) ** 2)),
                "r2_score": _r2_score,
            },
            "sklearn.model_selection": {"train_test_split": _train_test_split},
            "sklearn.preprocessing": {
                "LabelBinarizer": LabelBinarizer,
                "LabelEncoder": LabelEncoder,
                "MinMaxScaler": MinMaxScaler,
                "OneHotEncoder": OneHotEncoder,
                "StandardScaler": StandardScaler,
            },
            "sklearn.utils": {"shuffle": _shuffle},
            "tensorflow.examples.tutorials.mnist.input_data": {"read_data_sets": self._read_data_sets},
            "tensorflow": {"one_hot": lambda y, depth, **_: _Tensor(np.eye(depth, dtype=np.float32)[np.asarray(y)])},
            "tensorflow_datasets": {"as_numpy": lambda data: data, "load": self._load_tfds},
            "tensorflow.random": {"set_seed": lambda seed: None},
            "torchvision.datasets": {name: partial(self._torch_images, name) for name in ("MNIST", "FashionMNIST")},
            "torchvision.transforms": {
                "Compose": lambda steps: lambda image: _in_turn(steps, image),
                "Lambda": lambda function: function,
                "Normalize": lambda mean, std: (
                    lambda image: (image - np.reshape(mean, (-1, 1, 1))) / np.reshape(std, (-1, 1, 1))
                ),
                "ToTensor": lambda: lambda image: _Tensor(np.asarray(image)[None] / 255),
            },
            "termcolor": {"colored": lambda text, *_, **__: text, "cprint": lambda *_, **__: None},
            "tqdm": _progress_bars(),
            "urllib.request": {"urlopen": self._urlopen, "urlretrieve": self._urlretrieve},
            "wget": {"download": lambda url, out=None, **_: self._urlretrieve(url, out)[0]},
        }
        found |= {name: {} for name in BASELINES}
        found |= {f"tqdm.{name}": _progress_bars() for name in ("auto", "notebook")}
        for root in ("keras", "tensorflow.keras", "keras.src", "tensorflow.python.keras"):
            load_data = {"load_data": partial(self._keras_data, root.partition(".")[0])}
            found |= {f"{root}.datasets.{name}": load_data for name in ("mnist", "fashion_mnist")}
            found |= {
                f"{root}.utils": {
                    "to_categorical": _to_categorical,
                    "normalize": _normalize,
                    "get_file": self._get_file,
                },
                f"{root}.utils.np_utils": {"to_categorical": _to_categorical},
            }
        found["sklearn.cross_validation"] = found["sklearn.model_selection"]
        return found

    # -- data from libraries ---------------------------------------------------------------------------------

    def load_data(self) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """``((x_train, y_train), (x_test, y_test))`` as Keras gives it."""
        x, y = load("train", self._train)
        u, v = load("test", self._test)
        return (x.copy(), y.copy()), (u.copy(), v.copy())

    def _flat(self) -> tuple[Array, Array]:
        """All images as rows, the training ones first."""
        (x, y), (u, v) = self.load_data()
        return np.concatenate([x, u]).reshape(-1, 784), np.concatenate([y, v])

    def _answer(self, library: str, loader: str = "its MNIST loader") -> None:
        missing = self._find_real(library, None) is None
        self._say(f"{library}{' is not installed' if missing else ''}: {loader} was answered with the packaged MNIST")

    def _keras_data(self, library: str, *_: Any, **__: Any) -> Any:
        self._answer(library)
        return self.load_data()

    def _fetch_openml(self, name: Any = None, *of: Any, return_X_y: bool = False, **how: Any) -> Any:
        if "mnist" not in str(name).lower() and how.get("data_id") not in OPENML_NUMBERS:
            if name is not None:
                how["name"] = name
            return self._original("sklearn.datasets", "fetch_openml", str(name))(*of, return_X_y=return_X_y, **how)
        self._answer("sklearn", "fetch_openml")
        x, y = self._flat()
        data: Any = x.astype(np.float64)
        target: Any = np.array([str(digit) for digit in y], dtype=object)
        if how.get("as_frame", "auto"):
            data, target = self._frames(data, target)
        return (data, target) if return_X_y else Bunch(data=data, target=target, DESCR="", details={})

    def _frames(self, data: Array, target: Array) -> tuple[Any, Any]:
        names = [f"pixel{i + 1}" for i in range(data.shape[1])]
        if self._find_real("pandas", None) is None:
            return Frame(data, names), Frame(target)
        pandas = importlib.import_module("pandas")
        return pandas.DataFrame(data, columns=names), pandas.Series(target, name="class", dtype="category")

    def _fetch_mldata(self, *_: Any, **__: Any) -> Any:
        self._answer("sklearn", "fetch_mldata")
        x, y = self._flat()
        return Bunch(data=x, target=y.astype(np.float64))

    def _load_digits(self, *, return_X_y: bool = False, n_class: int = 10, **_: Any) -> Any:
        self._say("sklearn is not installed: load_digits was answered with images of the packaged MNIST, 8 by 8 pixels")
        x, y = load("train", 2500)
        x, y = x[y < n_class][:1797], y[y < n_class][:1797].astype(int)
        ink = np.pad(x > 127, ((0, 0), (2, 2), (2, 2))).reshape(-1, 8, 4, 8, 4).sum((2, 4)).astype(float)
        return (ink.reshape(-1, 64), y) if return_X_y else Bunch(data=ink.reshape(-1, 64), images=ink, target=y)

    def _made_up(
        self, loader: str, counts: tuple[int, ...], features: int, *, return_X_y: bool = False, **_: Any
    ) -> Any:
        self._say(f"sklearn is not installed: {loader} was answered with made-up data of the same shape")
        random = np.random.RandomState(features)
        centres = random.uniform(1, 6, (len(counts), features))
        y = np.repeat(np.arange(len(counts)), counts)
        x = np.round(centres[y] + random.normal(scale=0.5, size=(len(y), features)), 1)
        names = [f"feature {i + 1}" for i in range(features)]
        return (x, y) if return_X_y else Bunch(data=x, target=y, feature_names=names, target_names=np.unique(y))

    def _h5_file(self, name: Any, mode: str = "r", *of: Any, **how: Any) -> Any:
        found = re.fullmatch(r"(train|test)_(catvnoncat|happy|signs)\.h5", _file_name(str(name)))
        real = self._find_real("h5py", None) is not None
        if found is None or (real and os.path.lexists(str(name))):
            return self._original("h5py", "File", _file_name(str(name)))(name, mode, *of, **how)
        self._say(f"{found[0]} was answered with made-up pictures of the same shape")
        part, counts = found[1], COURSE_PICTURES[found[2]]
        random = np.random.RandomState(len(found[0]))
        y = random.permutation(np.arange(counts[part]) % counts["classes"])
        x = random.randint(0, 200, (len(y), 64, 64, 3)) + 50 * y[:, None, None, None] // counts["classes"]
        names = np.array([f"class {number}".encode() for number in np.unique(y)])
        return Kept({f"{part}_set_x": x.astype(np.uint8), f"{part}_set_y": y, "list_classes": names})

    def _load_boston(self, *, return_X_y: bool = False, **_: Any) -> Any:
        self._say("load_boston was removed from sklearn: it was answered with made-up data of the same shape")
        random = np.random.RandomState(13)
        x = random.normal(size=(506, 13))
        y = 22.5 + x @ random.normal(size=13) + random.normal(scale=2.0, size=506)
        return (x, y) if return_X_y else Bunch(data=x, target=y, feature_names=[f"feature {i + 1}" for i in range(13)])

    def _torch_images(self, name: str, root: Any = None, train: bool = True, transform: Any = None, **how: Any) -> Any:
        self._answer("torchvision", name)
        x, y = self.load_data()[0 if train else 1]
        return Images(x, y, transform, how.get("target_transform"), real=self._find_real("torch", None) is not None)

    def _load_dataset(self, name: str = "", *_: Any, split: str | None = None, **__: Any) -> Any:
        if "mnist" not in name:
            raise ModuleNotFoundError(
                f"No module named 'datasets', and its stand-in has no data {name}", name="datasets"
            )
        self._answer("datasets", "load_dataset")
        train, test = (Rows({"image": list(x), "label": y.tolist()}) for x, y in self.load_data())
        parts = {"train": train, "test": test}
        return parts if split is None else parts[split.partition("[")[0]]

    def _load_tfds(self, name: str = "", *_: Any, split: Any = None, batch_size: int = 0, **how: Any) -> Any:
        if "mnist" not in name or batch_size != -1:
            raise self._lacking("tensorflow_datasets", f"data {name} in batches of {batch_size}")
        self._answer("tensorflow_datasets", "load")
        sets = dict(zip(("train", "test"), self.load_data(), strict=True))
        parts = {
            key: (x[..., None], y.astype(np.int64)) if how.get("as_supervised") else {"image": x[..., None], "label": y}
            for key, (x, y) in sets.items()
        }
        if isinstance(split, (list, tuple)):
            return [parts[str(part).partition("[")[0]] for part in split]
        return parts if split is None else parts[str(split).partition("[")[0]]

    def _mnist(self) -> dict[str, Any]:
        """Of three packages with this name, what their users call."""

        def part(index: int, which: int) -> Callable[[], Any]:
            def get() -> Any:
                self._answer("mnist", "its loader")
                return self.load_data()[index][which]

            return get

        def load_all() -> Any:
            (x, y), (u, v) = [(part(i, 0)().reshape(-1, 784), part(i, 1)()) for i in (0, 1)]
            return x, y, u, v

        class MNIST:
            def __init__(self, *_: Any, **__: Any) -> None:
                self.gz = False

            def load_training(self) -> Any:
                return part(0, 0)().reshape(-1, 784).tolist(), part(0, 1)().tolist()

            def load_testing(self) -> Any:
                return part(1, 0)().reshape(-1, 784).tolist(), part(1, 1)().tolist()

        parts = {
            f"{name}_{kind}": part(i, j)
            for i, name in enumerate(("train", "test"))
            for j, kind in enumerate(("images", "labels"))
        }
        return {"MNIST": MNIST, "init": lambda: None, "load": load_all, **parts}

    def _mnist_data(self) -> Any:
        self._answer("mlxtend", "mnist_data")
        x, y = self._flat()
        return x.astype(float), y.astype(int)

    def _load_mnist(self, normalize: bool = True, flatten: bool = True, one_hot_label: bool = False) -> Any:
        self._say("dataset.mnist is not there: its load_mnist was answered with the packaged MNIST")
        return tuple(
            (
                (x.reshape(-1, 784) if flatten else x[:, None]) / (np.float32(255) if normalize else 1),
                np.eye(10)[y] if one_hot_label else y,
            )
            for x, y in self.load_data()
        )

    def _load_tuples(self) -> Any:
        self._say("mnist_loader is not there: it was answered with the packaged MNIST")
        train, test = (((x.reshape(-1, 784) / 255).astype(np.float32), y.astype(int)) for x, y in self.load_data())
        return train, test, test

    def _load_pairs(self) -> Any:
        (x, y), _, (u, v) = self._load_tuples()
        train = [(p.reshape(784, 1), np.eye(10)[d].reshape(10, 1)) for p, d in zip(x, y, strict=True)]
        test = [(p.reshape(784, 1), int(d)) for p, d in zip(u, v, strict=True)]
        return train, test, test

    def _read_data_sets(self, *_: Any, one_hot: bool = False, **__: Any) -> Any:
        self._answer("tensorflow")
        train, test = (BatchedImages(x, np.eye(10)[y] if one_hot else y) for x, y in self.load_data())
        return SimpleNamespace(train=train, validation=test, test=test)

    # -- files and downloads -----------------------------------------------------------------------------------

    def file_for(self, path: str, *, header: bool = False) -> str | None:
        """A file in place of a usual MNIST file that is not there, or of a long one of the user's; or None.

        Parameters
        ----------
        path : str
            Path or address as the program gives it; of what is not there, only the file name counts.
        header : bool
            Whether a table begins with the names of its columns where such files are found in both ways.
        """
        key = (path, header, *self._sizes)
        if key not in self._files:
            self._files[key] = self._prepared(path, header)
        return self._files[key]

    def _prepared(self, path: str, header: bool) -> str | None:
        name, table = _file_name(path), None
        kind = next((kind for pattern, kind in FILES if re.fullmatch(pattern, name)), "")
        # lexists and FileIO: what else would tell goes through the guards, and so through here.
        if os.path.lexists(path):
            data = self._shortened(path, name, kind)
            if data is not None:
                self._say(f"of {name} only the first rows were read")
        elif kind:
            header = header or "mnist" not in name or "fashion" in name
            data = getattr(self, f"_{kind}")(name, header)
            data, table = data if isinstance(data, tuple) else (data, None)
            self._say(f"{os.path.basename(path)} is not there: it was answered with the packaged MNIST")
        else:
            return None
        if data is None:
            return None
        target = self._scratch / "standins" / f"{os.getpid()}-{len(self._files)}" / name
        target.parent.mkdir(parents=True)
        target.write_bytes(data)
        if table is not None:
            self._readings.know(str(target), table, header=header)
        return str(target)

    def _shortened(self, path: str, name: str, kind: str) -> bytes | None:
        """As much of the user's own data as is to be served; None if it has no more."""
        shorten = SHORTENERS.get(kind or name.rpartition(".")[2])
        if shorten is None or path.startswith(_OWN_LIBRARY) or not os.path.isfile(path):
            return None
        with io.BufferedReader(io.FileIO(path)) as file:
            stream: Any = gzip.GzipFile(fileobj=file) if name.endswith(".gz") else file
            try:
                data = shorten(stream, lambda label: self._test if re.search("test|t10k", label) else self._train, name)
            except Exception:  # whatever it is, the program may know how to read it
                return None
        if name.endswith(".csv"):
            data = self._as_its_images(path, data)
        return None if data is None else _packed(data, name)

    def _as_its_images(self, path: str, data: bytes | None) -> bytes | None:
        """A table as it is to be served; one beside a table of images of as many lines is cut as that was."""
        with io.BufferedReader(io.FileIO(path)) as file:
            lines = file.readlines()
        key = os.path.dirname(os.path.abspath(path)), len(lines)
        if data is not None:
            self._cut_lines[key] = data.count(b"\n")
        elif key in self._cut_lines:
            data = b"".join(lines[: self._cut_lines[key]])
        return data

    def _load_pickle(self, unpickle: Callable[..., Any], file: Any, **how: Any) -> Any:
        """A long pickle is read once; later runs get as much of it as is to be served."""
        name = str(getattr(file, "name", ""))
        if name.startswith(_OWN_LIBRARY):
            return unpickle(file, **how)
        start = file.tell() if name and hasattr(file, "tell") else -1
        key = (name, start, *self._sizes)
        known = self._pickles.get(key)
        if known is not None:
            return pickle.loads(known)
        data = unpickle(file, **how)
        if start == 0 and key not in self._pickles and not file.read(1):
            limit = self._sizes[bool(re.search("test|t10k", name, re.IGNORECASE))]
            short, is_short = _cut(data, limit)
            self.is_asked = self.is_asked or is_short
            self._pickles[key] = pickle.dumps(short) if is_short else None
            if is_short:
                self._say(f"of {os.path.basename(name)} only the first rows were read")
                return short
        return data

    def _csv(self, name: str, header: bool) -> tuple[bytes, Array]:
        x, y = self._flat() if "784" in name else self.load_data()["test" in name]
        table = x.reshape(len(x), -1)
        names = [f"pixel{i}" for i in range(784)]
        if name != "test.csv":  # the one of Kaggle has no labels
            table = np.c_[y, table]
            names = ["label", *names]
        return (",".join(names) + "\n").encode() * header + text_of(table), table

    def _npz(self, name: str, header: bool) -> bytes:
        (x, y), (u, v) = self.load_data()
        stream = io.BytesIO()
        np.savez(stream, x_train=x, y_train=y, x_test=u, y_test=v)
        return stream.getvalue()

    def _pickle(self, name: str, header: bool) -> bytes:
        train, test = (((x.reshape(-1, 784) / 255).astype(np.float32), y.astype(np.int64)) for x, y in self.load_data())
        return _packed(pickle.dumps(Sets((train, test, test))), name)

    def _idx(self, name: str, header: bool) -> bytes:
        x, y = self.load_data()[0 if name.startswith("train") else 1]
        if "images" in name:
            return _packed(struct.pack(">IIII", 2051, len(x), 28, 28) + x.tobytes(), name)
        return _packed(struct.pack(">II", 2049, len(y)) + y.tobytes(), name)

    def _loadmat(self, file_name: Any, *of: Any, **how: Any) -> Any:
        name = _file_name(str(file_name))
        if os.path.lexists(str(file_name)) or not any(re.fullmatch(pattern, name) for pattern in MATRICES):
            return self._original("scipy.io", "loadmat", name)(file_name, *of, **how)
        self._say(f"{name} is not there: it was answered with the packaged MNIST")
        if name.startswith("mnist"):
            x, y = self._flat()
            return {"data": x.T, "label": y[None].astype(float)}
        x, y = load("train", 500 if self._train < 500 else 5000)
        order = np.argsort(y, kind="stable")
        columns = (x[order, 4:24, 4:24] / 255).transpose(0, 2, 1).reshape(-1, 400)
        return {"X": columns, "y": np.where(y == 0, 10, y)[order, None]}

    def _read_csv(self, path: Any, *of: Any, **how: Any) -> Any:
        is_path = isinstance(path, (str, os.PathLike))
        named = how.get("header", "infer") is not None and "names" not in how
        found = self.file_for(os.fspath(path), header=named) if is_path else None
        if self._find_real("pandas", None) is not None:
            return self._readings.once(self._original("pandas", "read_csv", ""))(found or path, *of, **how)
        table = self._readings.known(found, header=named)
        try:
            if table is not None and how.get("nrows") is None:
                with open(str(found), encoding="utf-8") as file:
                    names = file.readline().strip().split(",") if named else range(table.shape[1])
                return Frame(table.astype(int), names)
            return self._readings.once(Frame.read)(found or path, named, how.get("nrows"))
        except ValueError:
            raise self._lacking("pandas", "reader for text") from None

    def _get_file(self, fname: str = "", origin: str = "", **_: Any) -> str:
        path = self.file_for(fname) or self.file_for(origin)
        if path is None:
            raise PermissionError("the network is refused while a program is checked")
        return path

    def _urlretrieve(self, url: Any, filename: Any = None, *of: Any, **how: Any) -> Any:
        path = self.file_for(str(url))
        if path is None:
            return self._original("urllib.request", "urlretrieve", str(url))(url, filename, *of, **how)
        if filename is not None:
            shutil.copyfile(path, filename)
        return filename or path, {}

    def _urlopen(self, url: Any, *of: Any, **how: Any) -> Any:
        path = self.file_for(str(getattr(url, "full_url", url)))
        if path is None:
            return self._original("urllib.request", "urlopen", str(url))(url, *of, **how)
        return Response(Path(path).read_bytes())

    def _get(self, url: Any, *of: Any, **how: Any) -> Any:
        path = self.file_for(str(url))
        if path is None:
            return self._original("requests", "get", str(url))(url, *of, **how)
        return Response(Path(path).read_bytes())


def _made_up_words(parser: argparse.ArgumentParser) -> list[str]:
    """The fewest words with which a parser is content."""
    words: list[str] = []
    for action in (action for action in parser._actions if action.required):
        value = str(next(iter(action.choices))) if action.choices else VALUES.get(action.type, "output")
        count = action.nargs if isinstance(action.nargs, int) else 1
        words += [*action.option_strings[:1], *[value] * count]
    return words


def _meaning(module: ModuleType, value: Any) -> str:
    if module is not np:
        return f"{'collections.abc' if module is collections else module.__name__}.{value.__name__}"
    if isinstance(value, float):
        return f"np.{value}"
    known = getattr(value, "__name__", "np.asarray(..., dtype=float)")
    return known if getattr(value, "__module__", "") == "builtins" else f"np.{known}"


class _Unavailable:
    """Something of a library that is not there: it may be imported, and set up, but not used."""

    def __init__(self, name: str, refuse: Callable[[], ModuleNotFoundError]) -> None:
        self.__name__ = name
        self._refuse = refuse

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise self._refuse()

    def __mro_entries__(self, bases: Any) -> Any:
        raise self._refuse()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Unavailable(name, self._refuse)

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    __getitem__ = __iter__ = __len__ = __bool__ = __add__ = __sub__ = __mul__ = __array__ = __call__


class _Overriding(importlib.abc.Loader):
    """Loads a real module and then replaces some of its functions."""

    def __init__(self, loader: Any, override: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._override = override

    def create_module(self, spec: Any) -> ModuleType | None:
        return self._loader.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._override(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def _with_parents(contents: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Every package above a module is a module too."""
    parents = {name.rsplit(".", depth)[0] for name in contents for depth in range(1, name.count(".") + 1)}
    return {**{name: {} for name in parents}, **contents}


Limit = Callable[[str], int]


def _short_table(stream: Any, limit: Limit, name: str) -> bytes | None:
    """The first lines of a table of images; tables of anything else are left alone."""
    first = stream.readline()
    lines = list(itertools.islice(stream, limit(name)))
    return b"".join([first, *lines]) if first.count(b",") >= 783 and stream.readline() else None


def _short_idx(stream: Any, limit: Limit, name: str) -> bytes | None:
    head = stream.read(16 if "images" in name else 8)
    count = min(limit(name), int.from_bytes(head[4:8], "big"))
    images = stream.read(count * (784 if "images" in name else 1))
    return head[:4] + count.to_bytes(4, "big") + head[8:] + images if stream.read(1) else None


def _short_array(stream: Any, limit: Limit, name: str) -> bytes | None:
    array = np.load(stream)
    short = _short(array, limit, name)
    buffer = io.BytesIO()
    np.save(buffer, short)
    return None if short is array else buffer.getvalue()


def _short_arrays(stream: Any, limit: Limit, name: str) -> bytes | None:
    with np.load(stream) as arrays:
        short = {key: _short(arrays[key], limit, key + name) for key in arrays.files}
    buffer = io.BytesIO()
    np.savez(buffer, **short)
    return buffer.getvalue()


def _short_pickle(stream: Any, limit: Limit, name: str) -> bytes | None:
    """Of (training, validation, test) or of a dictionary."""
    data = pickle.load(stream, encoding="latin1")
    if isinstance(data, dict):
        return pickle.dumps({key: _short(value, limit, str(key)) for key, value in data.items()})
    names = ("train", *["test"] * len(data))
    return pickle.dumps(tuple(tuple(_short(a, limit, n) for a in pair) for pair, n in zip(data, names, strict=False)))


def _short(array: Any, limit: Limit, name: str) -> Any:
    is_long = isinstance(array, np.ndarray) and array.ndim > 0 and len(array) >= LONG
    return array[: limit(name)] if is_long and len(array) > limit(name) else array


def _cut(data: Any, limit: int) -> tuple[Any, bool]:
    """The beginning of long collections, also where they are held in small ones; and whether any was long."""
    if isinstance(data, (tuple, list)) and len(data) <= TOGETHER:
        parts = [_cut(part, limit) for part in data]
        return type(data)(part for part, _ in parts), any(is_cut for _, is_cut in parts)
    if isinstance(data, dict) and len(data) <= TOGETHER:
        held = {key: _cut(part, limit) for key, part in data.items()}
        return {key: part for key, (part, _) in held.items()}, any(is_cut for _, is_cut in held.values())
    is_long = isinstance(data, (tuple, list)) or (isinstance(data, np.ndarray) and data.ndim > 0)
    is_long = is_long and len(data) >= LONG and len(data) > limit
    return (data[:limit], True) if is_long else (data, False)


SHORTENERS: dict[str, Callable[[Any, Limit, str], bytes | None]] = {
    "csv": _short_table,
    "idx": _short_idx,
    "npy": _short_array,
    "npz": _short_arrays,
    "pickle": _short_pickle,
}


def _read_idx(file: Any) -> Array:
    if hasattr(file, "read"):
        data = file.read()
    else:
        with gzip.open(file) if str(file).endswith("gz") else open(file, "rb") as stream:
            data = stream.read()
    shape = np.frombuffer(data, ">i4", data[3], 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def _file_name(path: str) -> str:
    return re.split(r"[/\\]", path.partition("?")[0])[-1].lower()


def _packed(data: bytes, name: str) -> bytes:
    return gzip.compress(data, 1, mtime=0) if name.endswith("gz") else data


# -- likenesses of what libraries give -------------------------------------------------------------------------


class Absorber:
    """Takes any call, attribute, index or unpacking and does nothing: a library that draws."""

    def __init__(self, library: str) -> None:
        self._library = library.partition(".")[0]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        if name in ("imread", "load_dataset", "resize", "cvtColor", "fromarray"):
            text = f"No module named {self._library!r}, and its stand-in only draws: it has no {name}"
            raise ModuleNotFoundError(text, name=self._library)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self

    def __getitem__(self, key: Any) -> Any:
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        return iter((self, self))

    def __bool__(self) -> bool:
        return False

    def __add__(self, other: Any) -> Any:
        return other

    __radd__ = __add__

    def __str__(self) -> str:
        return ""

    def __format__(self, form: str) -> str:
        return ""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def plot(self, *_: Any, **__: Any) -> list[Any]:
        """A list of one line, for those who unpack it."""
        return [self]

    def hist(self, *_: Any, **__: Any) -> tuple[Any, ...]:
        """Counts, edges and patches."""
        return self, self, self

    def subplots(self, nrows: int = 1, ncols: int = 1, *_: Any, **__: Any) -> Any:
        """A figure and its axes in the arrangement asked for."""
        axes = np.full((nrows, ncols), None, dtype=object)
        axes[...] = [[self] * ncols] * nrows if nrows * ncols > 1 else self
        return self, axes.squeeze() if axes.size > 1 else self


class Log(Absorber):
    """Takes all messages; what it decorates stays as it is."""

    @staticmethod
    def catch(function: Any = None, *_: Any, **__: Any) -> Any:
        """A function as it is."""
        return _undecorated(function)


class ProgressBar:
    """Loops without drawing a bar."""

    def __init__(self, iterable: Any = (), *_: Any, **__: Any) -> None:
        self._iterable = iterable

    def __iter__(self) -> Iterator[Any]:
        return iter(self._iterable)

    def __len__(self) -> int:
        return len(self._iterable)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None

    @staticmethod
    def write(*_: Any, **__: Any) -> None:
        """Say nothing."""


def _progress_bars() -> dict[str, Any]:
    return {
        "tqdm": ProgressBar,
        "tqdm_notebook": ProgressBar,
        "trange": lambda *of, **_: ProgressBar(range(*of)),
    }


class Bunch(dict[str, Any]):
    """A dictionary whose keys are attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error


class Kept(dict[str, Any]):
    """The data sets of a file, by name."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        """Nothing was open."""


class Sets(tuple[Any, ...]):
    """Training, validation and test set, each of images and labels; or one of the four arrays, by a name for it."""

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return super().__getitem__(key)
        return self[2 if "test" in key else 0]["label" in key or "y" in key.split("_")]


class Rows:
    """A table that is read by rows or by columns, as the package datasets gives it."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return self._columns[key]
        return {name: column[key] for name, column in self._columns.items()}

    def shuffle(self, *_: Any, **__: Any) -> Any:
        """The rows in random order."""
        order = np.random.permutation(len(self))
        return Rows({name: [column[i] for i in order] for name, column in self._columns.items()})

    def select(self, rows: Any) -> Any:
        """Some of the rows."""
        return Rows({name: [column[i] for i in rows] for name, column in self._columns.items()})

    def with_format(self, *_: Any, **__: Any) -> Any:
        """The same rows: they are arrays already."""
        return self

    set_format = with_format


class Response(io.BytesIO):
    """The answer to a download, as urllib and requests give it."""

    ok = True
    status = status_code = 200

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.content = content
        self.headers = {"Content-Length": str(len(content)), "content-length": str(len(content))}
        self.raw = self

    @property
    def text(self) -> str:
        """The content, decoded."""
        return self.content.decode("latin-1")

    def raise_for_status(self) -> None:
        """All went well."""

    def info(self) -> Any:
        """The headers."""
        return self.headers

    def iter_content(self, chunk_size: int = 1024, **_: Any) -> Iterator[bytes]:
        """The content in pieces."""
        return iter(lambda: self.read(chunk_size), b"")


class _Tensor(np.ndarray[Any, Any]):
    """An array that also answers to what is asked of a tensor on the way to an array."""

    def __new__(cls, values: Any) -> Any:
        return np.asarray(values).view(cls)

    def numpy(self) -> Any:
        """As a plain array."""
        return np.asarray(self)

    def float(self) -> Any:
        """As floating point numbers."""
        return self.astype(np.float32)


class Images:
    """A data set of torchvision; with real tensors where torch is installed."""

    def __init__(self, x: Array, y: Array, transform: Any, target_transform: Any, *, real: bool) -> None:
        tensor = importlib.import_module("torch").from_numpy if real else _Tensor
        self.data = self.train_data = self.test_data = tensor(x)
        self.targets = self.train_labels = self.test_labels = tensor(y.astype(np.int64))
        self.transform, self.target_transform = transform, target_transform
        self.classes = [str(digit) for digit in range(10)]
        self._x, self._y, self._real = x, y, real

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, index: int) -> Any:
        image: Any = self._x[index]
        if self._real:
            image = importlib.import_module("PIL.Image").fromarray(image)
        target = int(self._y[index])
        image = self.transform(image) if self.transform else image
        return image, self.target_transform(target) if self.target_transform else target


class BatchedImages:
    """A data set of the old TensorFlow tutorials."""

    def __init__(self, x: Array, labels: Array) -> None:
        self.images = (x.reshape(-1, 784) / 255).astype(np.float32)
        self.labels = labels
        self.num_examples = len(x)
        self._next = 0

    def next_batch(self, size: int, *_: Any, **__: Any) -> tuple[Array, Array]:
        """The next images and labels, from the beginning again after the last."""
        rows = (self._next + np.arange(size)) % self.num_examples
        self._next = int(rows[-1]) + 1
        return self.images[rows], self.labels[rows]


class Columns(list[Any]):
    """Names of columns, which are compared and picked one by one."""

    __hash__ = None

    def __eq__(self, other: Any) -> Any:
        return np.array([name == other for name in self]) if np.ndim(other) == 0 else list(self) == list(other)

    def __ne__(self, other: Any) -> Any:
        return ~(self == other) if np.ndim(other) == 0 else list(self) != list(other)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, (int, np.integer)):
            return super().__getitem__(int(key))
        return Columns(np.array(self, dtype=object)[key])

    @property
    def values(self) -> Array:
        """As an array."""
        return np.array(self, dtype=object)

    def tolist(self) -> list[Any]:
        """As a plain list."""
        return list(self)

    def drop(self, names: Any) -> Any:
        """Without some names."""
        gone = [names] if isinstance(names, str) else names
        return Columns(name for name in self if name not in gone)


class Frame(np.ndarray[Any, Any]):
    """An array with names of columns: as much of a data frame as programs need to get at arrays."""

    columns: Columns

    def __new__(cls, data: Any, columns: Any = ()) -> Any:
        data = np.asarray(data)
        # It owns its data, so that a column can be taken out of it.
        frame = super().__new__(cls, data.shape, data.dtype)
        frame[...] = data
        frame.columns = Columns(columns)
        return frame

    def __array_finalize__(self, other: Any) -> None:
        self.columns = Columns(getattr(other, "columns", ()))

    @classmethod
    def read(cls, path: Any, named: bool, rows: int | None) -> Any:
        """Read a table of numbers."""
        if not named:
            data = np.loadtxt(path, delimiter=",", max_rows=rows, ndmin=2)
            return cls(data.astype(int) if np.array_equal(data, data.astype(int)) else data, range(data.shape[1]))
        with open(path, encoding="utf-8") as stream:
            names = stream.readline().strip().split(",")
        data = np.loadtxt(path, delimiter=",", skiprows=1, max_rows=rows, ndmin=2)
        return cls(data.astype(int) if np.array_equal(data, data.astype(int)) else data, names)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and name in list(self.columns):
            return self[name]
        raise AttributeError(f"the stand-in for pandas has no {name}")

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str) or (isinstance(key, int) and self.ndim == 2 and key in list(self.columns)):
            return Frame(np.asarray(self)[:, self.columns.index(key)])
        if isinstance(key, list) and key and key[0] in list(self.columns):
            return self.iloc[:, [self.columns.index(name) for name in key]]
        return super().__getitem__(key)

    @property
    def values(self) -> Array:
        """As a plain array."""
        return np.array(self)

    def to_numpy(self, *_: Any, **__: Any) -> Array:
        """As a plain array."""
        return np.array(self)

    @property
    def iloc(self) -> Any:
        """Rows and columns by number."""
        return _Cells(self)

    @property
    def loc(self) -> Any:
        """Rows by number, columns by name."""
        return _Cells(self)

    def drop(self, labels: Any = None, axis: Any = 0, columns: Any = None, **_: Any) -> Any:
        """Without some columns."""
        gone = [columns] if isinstance(columns, str) else columns or ([labels] if isinstance(labels, str) else labels)
        return self[[name for name in self.columns if name not in gone]]

    def pop(self, name: str) -> Any:
        """One column, which the frame loses."""
        place = self.columns.index(name)
        column, rest = self[name], np.delete(np.asarray(self), place, axis=1)
        self.resize(rest.shape, refcheck=False)
        np.asarray(self)[...] = rest
        del self.columns[place]
        return column

    def isnull(self) -> Any:
        """Where there is nothing."""
        return Frame(np.isnan(np.asarray(self, dtype=float)), self.columns)

    isna = isnull

    def unique(self) -> Array:
        """The values that occur."""
        return np.unique(np.asarray(self))

    def nunique(self) -> int:
        """How many values occur."""
        return len(self.unique())

    def value_counts(self, *_: Any, **__: Any) -> Any:
        """How often each value occurs."""
        return Frame(np.unique(np.asarray(self), return_counts=True)[1])

    def describe(self, *_: Any, **__: Any) -> str:
        """Nothing that a check could show."""
        return ""

    info = describe

    def _same(self, *_: Any, **__: Any) -> Any:
        return self

    dropna = fillna = reset_index = rename = _same

    def head(self, n: int = 5) -> Any:
        """The first rows."""
        return self.iloc[:n]

    def sample(self, *_: Any, **__: Any) -> Any:
        """All rows in random order."""
        return self.iloc[np.random.permutation(len(self))]


class _Cells:
    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def __getitem__(self, key: Any) -> Any:
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        names = list(self._frame.columns)
        if isinstance(columns, list) and columns and isinstance(columns[0], str):
            columns = [names.index(name) for name in columns]
        if isinstance(columns, slice):
            columns = slice(
                *(
                    names.index(end) if isinstance(end, str) else end
                    for end in (columns.start, columns.stop, columns.step)
                )
            )
        elif isinstance(columns, str):
            columns = names.index(columns)
        data = np.asarray(self._frame)[rows]
        if self._frame.ndim == 1:
            return Frame(data)
        kept: Any = np.array(names, dtype=object)[columns] if names else []
        return Frame(data[..., columns], kept if isinstance(kept, np.ndarray) else ())


class OneHotEncoder:
    """One column for each class."""

    def __init__(self, *_: Any, sparse: bool = True, sparse_output: bool = True, **__: Any) -> None:
        self._dense = not (sparse and sparse_output)

    def fit(self, y: Any, *_: Any) -> Any:
        """Learn the classes."""
        self.categories_ = [np.unique(np.asarray(y))]
        return self

    def transform(self, y: Any) -> Any:
        """Zeros and ones."""
        hot = (np.asarray(y).reshape(-1, 1) == self.categories_[0]).astype(np.float64)
        return hot if self._dense else SimpleNamespace(toarray=lambda: hot, todense=lambda: hot, shape=hot.shape)

    def fit_transform(self, y: Any, *_: Any) -> Any:
        """Learn, then transform."""
        return self.fit(y).transform(y)


class LabelBinarizer(OneHotEncoder):
    """One column for each class, of whole numbers; a single one for two classes."""

    def fit(self, y: Any, *_: Any) -> Any:
        self.classes_ = np.unique(np.asarray(y))
        return self

    def transform(self, y: Any) -> Any:
        hot = (np.asarray(y).reshape(-1, 1) == self.classes_).astype(int)
        return hot[:, 1:] if len(self.classes_) == 2 else hot


class LabelEncoder(LabelBinarizer):
    """Classes as numbers from 0."""

    def transform(self, y: Any) -> Any:
        return np.searchsorted(self.classes_, np.asarray(y))


class StandardScaler:
    """Mean 0 and standard deviation 1 in every column."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def fit(self, x: Any, *_: Any) -> Any:
        """Learn from data."""
        self.mean_, self.scale_ = self._learn(np.asarray(x, dtype=float))
        self.scale_ = np.where(self.scale_ == 0, 1.0, self.scale_)
        return self

    def _learn(self, x: Array) -> tuple[Any, Any]:
        return x.mean(axis=0), x.std(axis=0)

    def transform(self, x: Any) -> Any:
        """Shift and scale."""
        return (np.asarray(x) - self.mean_) / self.scale_

    def fit_transform(self, x: Any, *_: Any) -> Any:
        """Learn, then transform."""
        return self.fit(x).transform(x)


class MinMaxScaler(StandardScaler):
    """From 0 to 1 in every column."""

    def _learn(self, x: Array) -> tuple[Any, Any]:
        return x.min(axis=0), np.ptp(x, axis=0)


class Baseline:
    """A model that learns which class is the commonest: what a network is compared with is not checked."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.classes_: Array = np.zeros(1, int)

    def fit(self, x: Any, y: Any, *_: Any, **__: Any) -> Any:
        """Learn the classes, the commonest first."""
        classes, counts = np.unique(np.asarray(y), return_counts=True, axis=0)
        self.classes_ = classes[np.argsort(-counts, kind="stable")]
        return self

    def predict(self, x: Any, *_: Any) -> Any:
        """The commonest class for every row."""
        return np.repeat(self.classes_[:1], len(x), axis=0)

    def score(self, x: Any, y: Any, *_: Any) -> float:
        """The share of the commonest class."""
        return float(np.mean(self.predict(x) == np.asarray(y)))


def _undecorated(function: Any = None, *_: Any, **__: Any) -> Any:
    return function if callable(function) else lambda inner: inner


def _in_turn(steps: Any, image: Any) -> Any:
    for step in steps:
        image = step(image)
    return image


def _to_categorical(y: Any, num_classes: int | None = None, dtype: Any = "float64") -> Any:
    y = np.asarray(y, dtype=int)
    y = y[..., 0] if y.ndim > 1 and y.shape[-1] == 1 else y
    return np.eye(num_classes or int(y.max()) + 1, dtype=dtype)[y]


def _normalize(x: Any, axis: int = -1, order: int = 2) -> Any:
    norm = np.linalg.norm(x, order, axis, keepdims=True)
    return x / np.where(norm == 0, 1, norm)


def _one_hot_frame(y: Any, *_: Any, **__: Any) -> Any:
    names = np.unique(np.asarray(y))
    return Frame((np.asarray(y).reshape(-1, 1) == names).astype(int), names)


def _expit(x: Any) -> Any:
    x = np.asarray(x, dtype=float)
    return np.where(x >= 0, 1, np.exp(np.minimum(x, 0))) / (1 + np.exp(-np.abs(x)))


def _logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    top = np.max(x, axis=axis, keepdims=True)
    total = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return total if keepdims else np.squeeze(total, axis=axis)


def _softmax(x: Any, axis: Any = None) -> Any:
    return np.exp(x - _logsumexp(x, axis, keepdims=True))


def _convolve2d(a: Any, b: Any, mode: str = "full", boundary: str = "fill", fillvalue: float = 0) -> Any:
    a, b = np.asarray(a), np.asarray(b)
    if boundary != "fill" or fillvalue != 0:
        raise ModuleNotFoundError("No module named 'scipy', and its stand-in only pads with zeros", name="scipy")
    height, width = b.shape
    full = np.zeros((a.shape[0] + height - 1, a.shape[1] + width - 1), np.result_type(a, b))
    for i, j in np.ndindex(b.shape):
        full[i : i + a.shape[0], j : j + a.shape[1]] += b[i, j] * a
    if mode == "full":
        return full
    top, left = (height - 1) // 2, (width - 1) // 2
    if mode == "same":
        return full[top : top + a.shape[0], left : left + a.shape[1]]
    edges = [min(sides) - 1 for sides in zip(a.shape, b.shape, strict=True)]
    return full[edges[0] : full.shape[0] - edges[0], edges[1] : full.shape[1] - edges[1]]


def _correlate2d(a: Any, b: Any, mode: str = "full", boundary: str = "fill", fillvalue: float = 0) -> Any:
    a, b = np.asarray(a), np.asarray(b)[::-1, ::-1].conj()
    if mode != "same":
        return _convolve2d(a, b, mode, boundary, fillvalue)
    # An even kernel is centred on the other of its two middle entries.
    full = _convolve2d(a, b, "full", boundary, fillvalue)
    top, left = b.shape[0] // 2, b.shape[1] // 2
    return full[top : top + a.shape[0], left : left + a.shape[1]]


class _TruncatedNormal:
    """A normal distribution between two limits, in units of its spread."""

    def __init__(self, a: Any, b: Any, loc: Any = 0, scale: Any = 1) -> None:
        self._limits, self._loc, self._scale = (a, b), loc, scale

    def rvs(self, size: Any = None, random_state: Any = None) -> Any:
        """Random numbers."""
        random = np.random if random_state is None else _random(random_state)
        count = int(np.prod(size)) if size is not None else 1
        drawn = np.empty(0)
        while len(drawn) < count:
            more = random.standard_normal(2 * count + 8)
            drawn = np.r_[drawn, more[(more >= self._limits[0]) & (more <= self._limits[1])]]
        found = drawn[:count].reshape(size if size is not None else ()) * self._scale + self._loc
        return found if size is not None else float(found)


def _random(random_state: Any) -> Any:
    return random_state if hasattr(random_state, "permutation") else np.random.RandomState(random_state)


def _shuffle(*arrays: Any, random_state: Any = None, **_: Any) -> Any:
    order = _random(random_state).permutation(len(arrays[0]))
    shuffled = [np.asarray(array)[order] for array in arrays]
    return shuffled[0] if len(shuffled) == 1 else shuffled


def _train_test_split(
    *arrays: Any,
    test_size: Any = None,
    train_size: Any = None,
    random_state: Any = None,
    shuffle: bool = True,
    **_: Any,
) -> Any:
    n = len(arrays[0])

    def count(size: Any) -> int:
        return int(np.ceil(n * size)) if isinstance(size, float) else int(size)

    k = count(test_size) if test_size is not None else n - count(train_size) if train_size is not None else count(0.25)
    order = _random(random_state).permutation(n) if shuffle else np.r_[n - k : n, : n - k]
    parts = (order[k:], order[:k])
    return [
        array.iloc[part] if hasattr(array, "iloc") else np.asarray(array)[part] for array in arrays for part in parts
    ]


def _confusion_matrix(true: Any, predicted: Any, **_: Any) -> Any:
    names = np.unique(np.concatenate([np.ravel(true), np.ravel(predicted)]))
    counts = np.zeros((len(names), len(names)), int)
    np.add.at(counts, (np.searchsorted(names, true), np.searchsorted(names, predicted)), 1)
    return counts


def _difference(true: Any, predicted: Any) -> Any:
    return np.asarray(true, dtype=float) - np.asarray(predicted, dtype=float)


def _r2_score(true: Any, predicted: Any) -> float:
    spread = np.asarray(true, dtype=float) - np.mean(true)
    return float(1 - np.sum(_difference(true, predicted) ** 2) / np.sum(spread**2))


def _noisy(x: Any, y: Any, noise: float | None, random_state: Any) -> Any:
    random = _random(random_state)
    order = random.permutation(len(x))
    return x[order] + (random.normal(scale=noise, size=x.shape) if noise else 0), y[order]


def _make_moons(n_samples: int = 100, *, noise: float | None = None, random_state: Any = None, **_: Any) -> Any:
    n = n_samples // 2
    t, u = np.linspace(0, np.pi, n), np.linspace(0, np.pi, n_samples - n)
    x = np.concatenate([np.c_[np.cos(t), np.sin(t)], np.c_[1 - np.cos(u), 0.5 - np.sin(u)]])
    return _noisy(x, np.r_[np.zeros(n, int), np.ones(n_samples - n, int)], noise, random_state)


def _make_circles(
    n_samples: int = 100, *, noise: float | None = None, random_state: Any = None, factor: float = 0.8, **_: Any
) -> Any:
    y = np.arange(n_samples) % 2
    t = 2 * np.pi * np.arange(n_samples) / n_samples
    return _noisy(np.c_[np.cos(t), np.sin(t)] * np.where(y, factor, 1)[:, None], y, noise, random_state)


def _make_blobs(
    n_samples: int = 100,
    n_features: int = 2,
    *,
    centers: Any = 3,
    cluster_std: float = 1.0,
    random_state: Any = None,
    **_: Any,
) -> Any:
    random = _random(random_state)
    centres = random.uniform(-10, 10, (centers, n_features)) if np.ndim(centers) == 0 else np.asarray(centers)
    y = np.arange(n_samples) % len(centres)
    return _noisy(centres[y], y, cluster_std, random)


def _make_classification(
    n_samples: int = 100, n_features: int = 20, *, n_classes: int = 2, random_state: Any = None, **_: Any
) -> Any:
    return _make_blobs(n_samples, n_features, centers=n_classes, cluster_std=5.0, random_state=random_state)


def _make_regression(
    n_samples: int = 100, n_features: int = 100, *, noise: float = 0.0, random_state: Any = None, **_: Any
) -> Any:
    random = _random(random_state)
    x = random.normal(size=(n_samples, n_features))
    return x, x @ random.uniform(0, 100, n_features) + random.normal(scale=noise, size=n_samples)


def _make_gaussian_quantiles(
    *,
    mean: Any = None,
    cov: float = 1.0,
    n_samples: int = 100,
    n_features: int = 2,
    n_classes: int = 3,
    random_state: Any = None,
    **_: Any,
) -> Any:
    x = _random(random_state).normal(size=(n_samples, n_features)) * np.sqrt(cov)
    rank = np.argsort(np.argsort(np.sum(x**2, axis=1)))
    return x + (0 if mean is None else np.asarray(mean)), rank * n_classes // n_samples


def _spirals(samples: int, classes: int) -> Any:
    y = np.repeat(np.arange(classes, dtype=np.uint8), samples)
    r = np.tile(np.linspace(0, 1, samples), classes)
    t = 2.5 * (4 * (y + r) + 0.2 * np.random.randn(samples * classes))
    return np.c_[r * np.sin(t), r * np.cos(t)], y


def _sine(samples: int = 1000) -> Any:
    x = np.linspace(0, 1, samples).reshape(-1, 1)
    return x, np.sin(2 * np.pi * x)
