"""Programs get their data from libraries, files and downloads that are not there: each usual way, to the end."""

from __future__ import annotations

import os
from pathlib import Path

import networks
import numpy as np
import pytest

from backprop_doctor import python2
from backprop_doctor.standins import _convolve2d, _correlate2d

NETWORK = """\
H = 12
W1 = np.random.randn(X.shape[1], H) * 0.1
b1 = np.zeros((1, H))
W2 = np.random.randn(H, Y.shape[1]) * 0.1
b2 = np.zeros((1, Y.shape[1]))
for epoch in range(20):
    A1 = np.tanh(X @ W1 + b1)
    Z2 = A1 @ W2 + b2
    E = np.exp(Z2 - Z2.max(axis=1, keepdims=True))
    A2 = E / E.sum(axis=1, keepdims=True)
    loss = -np.mean(np.sum(Y * np.log(A2 + 1e-12), axis=1))
    dZ2 = (A2 - Y) / len(X)
    dW2 = A1.T @ dZ2
    db2 = dZ2.sum(axis=0, keepdims=True)
    dZ1 = (dZ2 @ W2.T) * (1 - A1 ** 2)
    dW1 = X.T @ dZ1
    db1 = dZ1.sum(axis=0, keepdims=True)
    W1 = W1 - 0.3 * dW1
    b1 = b1 - 0.3 * db1
    W2 = W2 - 0.3 * dW2
    b2 = b2 - 0.3 * db2
"""

WAYS = {
    "kaggle_transposed": """\
import pandas as pd
data = pd.read_csv('../input/digit-recognizer/train.csv')
data = np.array(data)
m, n = data.shape
np.random.shuffle(data)
data_dev = data[0:50].T
Y_dev = data_dev[0]
X_dev = data_dev[1:n] / 255.
X = X_dev.T
Y = np.eye(10)[Y_dev]
""",
    "kaggle_drop": """\
import pandas as pd
train = pd.read_csv('train.csv')
Y = np.eye(10)[train['label'].values]
X = train.drop('label', axis=1).values / 255
""",
    "kaggle_dummies": """\
import pandas as pd
train = pd.read_csv('train.csv')
test = pd.read_csv('test.csv')
print(train.shape, train.head(), train.describe())
y = train.label
X = train.drop(columns=['label']).to_numpy() / 255.0
Y = pd.get_dummies(y).values
""",
    "kaggle_positions": """\
import pandas as pd
df = pd.read_csv('mnist_train.csv', header=None)
X = df.iloc[:, 1:].values / 255
y = df.iloc[:, 0].values
Y = np.zeros((y.size, y.max() + 1)); Y[np.arange(y.size), y] = 1
""",
    "kaggle_pop": """\
import pandas as pd
df = pd.read_csv('train.csv')
y = df.pop('label')
X = df.values.astype('float32') / 255
Y = np.eye(10)[y.to_numpy()]
""",
    "kaggle_mask": """\
import pandas as pd
df = pd.read_csv('train.csv')
X = df.loc[:, df.columns != 'label'].values / 255
Y = np.eye(10)[df['label']]
""",
    "kaggle_shuffled": """\
import pandas as pd
df = pd.read_csv('train.csv').sample(frac=1).reset_index(drop=True)
X = df[df.columns[1:]].values / 255
Y = np.eye(10)[df['label'].astype(int)]
""",
    "moons": """\
from sklearn.datasets import make_moons
X, y = make_moons(n_samples=200, noise=0.2, random_state=0)
Y = np.eye(2)[y]
""",
    "moons_by_module": """\
import sklearn.datasets
import sklearn.linear_model
X, y = sklearn.datasets.make_moons(200, noise=0.20)
Y = np.eye(2)[y]
""",
    "circles": """\
from sklearn import datasets
X, y = datasets.make_circles(n_samples=200, factor=0.5, noise=0.1)
Y = np.eye(2)[y]
""",
    "blobs": """\
from sklearn.datasets import make_blobs
X, y = make_blobs(n_samples=120, centers=3, n_features=2, random_state=1)
Y = np.eye(3)[y]
""",
    "digits": """\
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
d = load_digits()
X, Xt, y, yt = train_test_split(d.data / 16, d.target, test_size=0.2, random_state=1)
Y = np.eye(10)[y]
""",
    "iris": """\
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler, OneHotEncoder
iris = load_iris()
X = StandardScaler().fit_transform(iris.data)
Y = OneHotEncoder(sparse_output=False).fit_transform(iris['target'].reshape(-1, 1))
""",
    "breast_cancer": """\
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler, LabelBinarizer
X, y = load_breast_cancer(return_X_y=True)
X = StandardScaler().fit(X).transform(X)
Y = np.eye(2)[y]
""",
    "openml_arrays": """\
from sklearn.datasets import fetch_openml
from sklearn.utils import shuffle
from sklearn.metrics import accuracy_score
X, y = fetch_openml('mnist_784', version=1, return_X_y=True, as_frame=False)
X, y = shuffle(X / 255, y.astype(int))
Y = np.eye(10)[y]
""",
    "openml_frames": """\
from sklearn.datasets import fetch_openml
mnist = fetch_openml('mnist_784')
X = np.array(mnist.data) / 255
Y = np.eye(10)[mnist['target'].astype(int)]
""",
    "nnfs": """\
import nnfs
from nnfs.datasets import spiral_data
nnfs.init()
X, y = spiral_data(samples=50, classes=3)
Y = np.eye(3)[y]
""",
    "keras_np_utils": """\
from keras.datasets import mnist
from keras.utils import np_utils, to_categorical
(x, y), (u, v) = mnist.load_data()
X = x.reshape(x.shape[0], 28 * 28).astype('float32') / 255
Y = np_utils.to_categorical(y)
""",
    "keras_with_layers": """\
from keras.datasets import mnist
from keras.utils import to_categorical
from keras.models import Sequential
from keras.layers import Dense
from tensorflow import keras
(x, y), (u, v) = mnist.load_data()
X = x.reshape(x.shape[0], 28 * 28).astype('float32') / 255
Y = to_categorical(y, 10)
""",
    "tensorflow": """\
import tensorflow as tf
(x, y), _ = tf.keras.datasets.mnist.load_data()
X = x.reshape(-1, 784) / 255.0
Y = tf.keras.utils.to_categorical(y, 10)
""",
    "tensorflow_one_hot": """\
import tensorflow as tf
(x, y), _ = tf.keras.datasets.mnist.load_data()
X = x.reshape(-1, 784) / 255.0
Y = tf.one_hot(y, 10).numpy()
""",
    "pickle": """\
import pickle, gzip
with gzip.open('../data/mnist.pkl.gz', 'rb') as f:
    train, val, test = pickle.load(f, encoding='latin1')
X = train[0]
Y = np.eye(10)[train[1]]
""",
    "pickle_of_python_2": """\
import cPickle, gzip
f = gzip.open('mnist.pkl.gz', 'rb')
train, val, test = cPickle.load(f)
f.close()
X = train[0]
Y = np.eye(10)[train[1]]
""",
    "pickle_in_c": """\
import gzip
import _pickle as cPickle
f = gzip.open('mnist.pkl.gz', 'rb')
train, val, test = cPickle.load(f, encoding='latin1')
f.close()
X = train[0]
Y = np.eye(10)[train[1]]
""",
    "download": """\
import urllib.request, gzip, os
url = 'http://yann.lecun.com/exdb/mnist/'
for f in ('train-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte.gz'):
    if not os.path.exists(f):
        urllib.request.urlretrieve(url + f, f)
with gzip.open('train-images-idx3-ubyte.gz') as f:
    X = np.frombuffer(f.read(), np.uint8, offset=16).reshape(-1, 784) / 255
with gzip.open('train-labels-idx1-ubyte.gz') as f:
    Y = np.eye(10)[np.frombuffer(f.read(), np.uint8, offset=8)]
""",
    "requests": """\
import requests, gzip, os, hashlib
def fetch(url):
    fp = os.path.join('/tmp', hashlib.md5(url.encode('utf-8')).hexdigest())
    if os.path.isfile(fp):
        with open(fp, 'rb') as f: data = f.read()
    else:
        with open(fp, 'wb') as f:
            data = requests.get(url).content
            f.write(data)
    return np.frombuffer(gzip.decompress(data), dtype=np.uint8).copy()
X = fetch('http://yann.lecun.com/exdb/mnist/train-images-idx3-ubyte.gz')[0x10:].reshape((-1, 784)) / 255
Y = np.eye(10)[fetch('http://yann.lecun.com/exdb/mnist/train-labels-idx1-ubyte.gz')[8:]]
""",
    "idx_files": """\
import struct
with open('data/train-images.idx3-ubyte', 'rb') as f:
    magic, n, r, c = struct.unpack('>IIII', f.read(16))
    X = np.fromfile(f, dtype=np.uint8).reshape(n, r * c) / 255
with open('data/train-labels.idx1-ubyte', 'rb') as f:
    struct.unpack('>II', f.read(8))
    Y = np.eye(10)[np.fromfile(f, dtype=np.uint8)]
""",
    "torchvision": """\
from torchvision import datasets, transforms
t = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
d = datasets.MNIST('./data', train=True, download=True, transform=t)
X = d.data.numpy().reshape(-1, 784) / 255
Y = np.eye(10)[d.targets.numpy()]
""",
    "mnist_package": """\
import mnist
X = mnist.train_images().reshape(-1, 784) / 255
Y = np.eye(10)[mnist.train_labels()]
""",
    "python_mnist": """\
from mnist import MNIST
m = MNIST('./data')
x, y = m.load_training()
X = np.array(x) / 255
Y = np.eye(10)[np.array(y)]
""",
    "hugging_face": """\
from datasets import load_dataset
d = load_dataset('mnist')
X = np.array([np.array(i['image']) for i in d['train']]).reshape(-1, 784) / 255
Y = np.eye(10)[np.array([i['label'] for i in d['train']])]
""",
    "hugging_face_split": """\
from datasets import load_dataset
d = load_dataset('ylecun/mnist', split='train')
X = np.stack([np.asarray(i) for i in d['image']]).reshape(-1, 784) / 255
Y = np.eye(10)[d['label']]
""",
    "removed_numpy_names": """\
from keras.datasets import mnist
(x, y), _ = mnist.load_data()
X = x.reshape(-1, 784).astype(np.float) / 255
Y = np.eye(10)[y.astype(np.int)]
""",
    "npz": """\
with np.load('mnist.npz') as f:
    X, y = f['x_train'].reshape(-1, 784) / 255, f['y_train']
Y = np.eye(10)[y]
""",
    "notebook_shell": """\
from keras.datasets import mnist
get_ipython().run_line_magic('matplotlib', 'inline')
(x, y), _ = mnist.load_data()
X = x.reshape(-1, 784) / 255
Y = np.eye(10)[y]
display(X[:3])
""",
    "mldata": """\
from sklearn.datasets import fetch_mldata
m = fetch_mldata('MNIST original')
X = m.data / 255
Y = np.eye(10)[m.target.astype(int)]
""",
    "tensorflow_datasets": """\
import tensorflow_datasets as tfds
d = tfds.as_numpy(tfds.load('mnist', split='train', batch_size=-1))
X = d['image'].reshape(-1, 784) / 255
Y = np.eye(10)[d['label']]
""",
    "text_table": """\
d = np.loadtxt('mnist_train.csv', delimiter=',')
X = d[:, 1:] / 255
Y = np.eye(10)[d[:, 0].astype(int)]
""",
    "csv_module": """\
import csv
with open('mnist_train.csv') as f:
    rows = list(csv.reader(f))
d = np.array(rows[1:], dtype=float)
X = d[:, 1:] / 255
Y = np.eye(10)[d[:, 0].astype(int)]
""",
    "matlab": """\
from scipy.io import loadmat
d = loadmat('ex4data1.mat')
X = d['X']
Y = np.eye(10)[d['y'].ravel() - 1]
""",
    "compared_with_another_model": """\
import progressbar
from sklearn.datasets import make_gaussian_quantiles
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import r2_score
from terminaltables import AsciiTable
X, y = make_gaussian_quantiles(n_samples=90, n_features=3, n_classes=2)
Y = np.eye(2)[y]
other = LogisticRegression().fit(X, y)
for _ in progressbar.ProgressBar(widgets=[progressbar.ETA()])(range(2)):
    print(other.score(X, y), r2_score(y, other.predict(X)), AsciiTable([["a"]]).table)
""",
    "imported_and_not_used": """\
import absent_solver
from absent_tools import plot_all
from absent_tools.more import Report
from keras.datasets import mnist
absent_solver.options["show"] = False
(x, y), _ = mnist.load_data()
X = x.reshape(-1, 784) / 255
Y = np.eye(10)[y]
""",
    "names_that_modules_gave_up": """\
import collections
import time
from keras.datasets import mnist
start = time.clock()
(x, y), _ = mnist.load_data()
assert isinstance(y.tolist(), collections.Iterable)
X = x.reshape(-1, 784) / 255
Y = np.eye(10)[y]
print(time.clock() - start)
""",
    "pictures_of_a_course": """\
import h5py
with h5py.File('datasets/train_signs.h5', 'r') as d:
    X = np.array(d['train_set_x'][:])[:90, ::8, ::8].reshape(90, -1) / 255
    Y = np.eye(6)[np.array(d['train_set_y'][:])[:90]]
    names = [name.decode() for name in d['list_classes'][:]]
""",
    "pickle_of_named_arrays": """\
import pickle
with open('mnist.pkl', 'rb') as f:
    d = pickle.load(f)
X = d['training_images'][:90]
Y = np.eye(10)[d['training_labels'][:90]]
assert len(d['test_images']) == len(d['test_labels'])
""",
    "seeds_by_name": """\
from keras.datasets import mnist
np.random.seed(seed=3)
(x, y), _ = mnist.load_data()
X = x.reshape(-1, 784) / 255 + 1e-3 * np.random.default_rng(seed=1).normal(size=(len(x), 784))
X += 1e-3 * np.random.RandomState(seed=2).normal(size=X.shape)
Y = np.eye(10)[y]
""",
    "split_into_batches": """\
from keras.datasets import mnist
(x, y), _ = mnist.load_data()
batches = np.split(x, len(x) // 100)
X = batches[0].reshape(100, 784) / 255
Y = np.eye(10)[y[:100]]
""",
    "table_of_a_name_of_its_own": """\
d = np.loadtxt('small-mnist-demo.csv', delimiter=',', skiprows=0)
X = d[:, 1:] / 255
Y = np.eye(10)[d[:, 0].astype(int)]
""",
    "idx2numpy": """\
import idx2numpy
X = idx2numpy.convert_from_file('train-images.idx3-ubyte').reshape(-1, 784) / 255
Y = np.eye(10)[idx2numpy.convert_from_file('train-labels.idx1-ubyte')]
""",
}

# How many images there are is written out, where they are told apart and where something is divided by them.
WRITTEN_OUT = """\
import numpy as np
from keras.datasets import mnist

(x, y), (u, v) = mnist.load_data()
{shapes}
W = np.random.randn(784, 10) * 0.01
b = np.zeros((1, 10))
for epoch in range(10000):
    z = x @ W + b
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    loss = -np.sum(t * np.log(p + 1e-12)) / 60000
    dz = (p - t) / {count}
    dW = x.T @ dz
    db = dz.sum(axis=0, keepdims=True)
    W = W - 0.5 * dW
    b = b - 0.5 * db
    hits = np.sum(np.argmax(u @ W + b, axis=1) == v)
    print(loss, hits / 10000)
"""
SHAPES = {
    "written out": """\
x = x.reshape(60000, 784) / 255
u = u.reshape(10000, 784) / 255
t = np.zeros((60000, 10))
t[np.arange(60000), y] = 1
""",
    "asked for": """\
x = x.reshape(len(x), 784) / 255
u = u.reshape(len(u), 784) / 255
t = np.eye(10)[y]
""",
}


@pytest.mark.parametrize("shapes", sorted(SHAPES))
def test_numbers_of_images_that_are_written_out_are_as_many_as_are_served(shapes: str, tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(WRITTEN_OUT.format(shapes=SHAPES[shapes], count=60000))
    report = networks.diagnosed(path)
    assert report.verdict == "healthy"
    assert not [f for f in report.findings if f.severity == "warning"]
    assert report.network is not None
    assert [(p.verdict, p.factor) for p in report.network.parameters] == [("right", "1")] * 2
    assert any("stood for the number of images" in remark for remark in report.remarks)


def test_a_number_of_images_that_is_the_wrong_one_is_found(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    text = WRITTEN_OUT.format(shapes=SHAPES["asked for"], count=60000)
    path.write_text(text.replace("hits / 10000", "hits / 60000"))
    assert {f.code for f in networks.diagnosed(path).findings if f.severity == "error"} == {"BD504"}


# Per-sample convolution of images by scipy, and messages to a library that is not there.
CONVOLUTION = """\
import numpy as np
from loguru import logger
from scipy.signal import convolve2d, correlate2d
from keras.datasets import mnist

(images, digits), _ = mnist.load_data()
rng = np.random.default_rng(0)
kernel = rng.normal(size=(3, 3)) * 0.3
shift = np.zeros((26, 26))
W = rng.normal(size=(676, 10)) * 0.05
b = np.zeros((1, 10))


@logger.catch
def train():
    global kernel, shift, W, b
    for image, digit in zip(images, digits):
        x = image / 255
        target = np.eye(10)[[digit]]
        z = correlate2d(x, kernel, "valid") + shift
        h = np.tanh(z)
        flat = h.reshape(1, -1)
        out = flat @ W + b
        loss = np.sum((out - target) ** 2)
        d_out = 2 * (out - target)
        d_W = flat.T @ d_out
        d_z = (d_out @ W.T).reshape(h.shape) * (1 - h**2)
        d_kernel = correlate2d(x, d_z, "valid")
        W = W - 0.01 * d_W
        b = b - 0.01 * d_out
        kernel = kernel - 0.01 * d_kernel
        shift = shift - 0.01 * d_z
        logger.info(f"{loss:.3f}")


train()
"""


def test_images_are_convolved_where_scipy_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(CONVOLUTION)
    report = networks.diagnosed(path)
    assert report.verdict == "healthy"
    assert report.network is not None
    assert [p.verdict for p in report.network.parameters] == ["right"] * 4


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("sides", [((5, 6), (3, 2)), ((4, 4), (4, 4)), ((6, 5), (2, 4)), ((2, 3), (5, 4))])
def test_two_arrays_are_correlated_as_the_definition_says(mode: str, sides: tuple[tuple[int, int], ...]) -> None:
    random = np.random.default_rng(3)
    a, b = (random.normal(size=shape) for shape in sides)
    padded = np.pad(a, [(n - 1, n - 1) for n in b.shape])
    windows = np.lib.stride_tricks.sliding_window_view(padded, b.shape)
    full = np.einsum("ijkl,kl->ij", windows, b)
    if mode == "same":
        top, left = (n // 2 for n in b.shape)
        full = full[top : top + a.shape[0], left : left + a.shape[1]]
    if mode == "valid":
        (top, left) = (min(n, m) - 1 for n, m in zip(*sides, strict=True))
        full = full[top : full.shape[0] - top, left : full.shape[1] - left]
    assert np.allclose(_correlate2d(a, b, mode), full)
    assert np.allclose(_convolve2d(a, b[::-1, ::-1], "full"), _correlate2d(a, b, "full"))


@pytest.mark.parametrize("way", sorted(WAYS))
def test_data_that_is_not_there_is_stood_in_for(way: str, tmp_path: Path) -> None:
    if way == "pickle_of_python_2" and not python2.is_available():
        pytest.skip("lib2to3 left the standard library with Python 3.13")
    path = tmp_path / "net.py"
    path.write_text(f"import numpy as np\n{WAYS[way]}{NETWORK}")
    report = networks.diagnosed(path)
    assert report.verdict == "healthy"
    assert report.network is not None
    assert [p.verdict for p in report.network.parameters] == ["right"] * 4
    assert os.listdir(tmp_path) == ["net.py"]


def test_what_a_command_line_must_say_is_made_up(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    parser = """\
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("where")
parser.add_argument("--kind", required=True, choices=["tanh", "relu"])
parser.add_argument("--rates", type=float, nargs=2, required=True)
arguments = parser.parse_args()
assert arguments.kind == "tanh"
assert arguments.rates == [0.1, 0.1]
"""
    path.write_text(f"import numpy as np\n{parser}{WAYS['text_table']}{NETWORK}")
    report = networks.diagnosed(path)
    assert report.verdict == "healthy"
    assert any("on the command line was made up" in remark for remark in report.remarks)


def test_words_that_a_program_compares_with_or_makes_numbers_of_are_made_up(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    words = """\
import sys
if sys.argv[1] != "digits":
    sys.exit("usage: net.py digits 20")
width = int(sys.argv[2])
"""
    path.write_text(f"import numpy as np\n{words}{WAYS['text_table']}{NETWORK}")
    report = networks.diagnosed(path)
    assert report.verdict == "healthy"
    assert "digits 16 on the command line was made up; --args gives something else" in report.remarks


def test_words_of_which_nothing_can_be_said_are_asked_for(tmp_path: Path) -> None:
    from backprop_doctor.errors import ProgramError

    path = tmp_path / "net.py"
    path.write_text(f"import sys\nimport numpy as np\nX = np.loadtxt(sys.argv[1])\n{NETWORK}")
    with pytest.raises(ProgramError, match="list index out of range"):
        networks.diagnosed(path)


def test_a_module_that_is_used_is_asked_for_and_no_empty_one_is_spoken_of(tmp_path: Path) -> None:
    from backprop_doctor.errors import ProgramError

    path = tmp_path / "net.py"
    path.write_text("import absent_tools\nX = absent_tools.load()\n")
    with pytest.raises(ProgramError, match="needs absent_tools, which is not there") as error:
        networks.diagnosed(path)
    assert "empty module" not in str(error.value)


def test_a_module_that_may_be_missing_stays_missing(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    choice = "try:\n    import absent_arrays as np\nexcept ImportError:\n    import numpy as np\n"
    path.write_text(f"{choice}{WAYS['text_table']}{NETWORK}")
    assert networks.diagnosed(path).verdict == "healthy"


def test_labels_are_cut_like_the_images_that_they_lie_beside(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    np.savetxt(tmp_path / "pictures.csv", random.randint(0, 255, (300, 784)), fmt="%d", delimiter=",")
    np.savetxt(tmp_path / "classes.csv", random.randint(0, 10, 300), fmt="%d")
    path = tmp_path / "net.py"
    read = """\
X = np.loadtxt('pictures.csv', delimiter=',') / 255
Y = np.eye(10)[np.loadtxt('classes.csv').astype(int)]
assert len(X) == len(Y) < 300
"""
    path.write_text(f"import numpy as np\n{read}{NETWORK}")
    assert networks.diagnosed(path).verdict == "healthy"


def test_what_was_stood_in_for_is_said(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(f"import numpy as np\n{WAYS['removed_numpy_names']}{NETWORK}")
    remarks = " ".join(networks.diagnosed(path).remarks)
    assert "was answered with the packaged MNIST" in remarks
    if not hasattr(__import__("numpy"), "float"):
        assert "np.float was removed from numpy: it was answered with what it stood for, float" in remarks


def test_a_program_named_like_the_library_it_imports_is_told_so(tmp_path: Path) -> None:
    from backprop_doctor.errors import ProgramError

    path = tmp_path / "wget.py"
    path.write_text("import wget\nwget.download('https://example.com')\n")
    with pytest.raises(ProgramError, match="its file must have another name"):
        networks.diagnosed(path)
