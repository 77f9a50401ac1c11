"""Complete numpy training programs written from a recipe, healthy or with one fault, as source text.

``python tests/generated.py SEED`` prints the program of a seed, ``SEED FAULT LAYER`` the one with that fault,
``SEED faults`` the faults that fit it.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import renaming
from recipes import LOOPED, PER_SAMPLE, Recipe, random_recipe, recipes

__all__ = ["Fault", "Recipe", "Written", "faults", "random_recipe", "recipes", "write"]

SLOPES_OF_OUTPUT = {"tanh": "1 - {0} ** 2", "sigmoid": "{0} * (1 - {0})", "relu": "({0} > 0)",
                    "leaky": "np.where({0} > 0, 1.0, 0.01)"}  # fmt: skip
ACTIVATIONS = {"tanh": "np.tanh(z)", "sigmoid": "1 / (1 + np.exp(-z))", "relu": "np.maximum(z, 0)",
               "leaky": "np.where(z > 0, z, 0.01 * z)"}  # fmt: skip
SLOPES_OF_INPUT = {"tanh": "1 - np.tanh(z) ** 2", "sigmoid": "sigmoid(z) * (1 - sigmoid(z))",
                   "relu": "(z > 0).astype(float)", "leaky": "np.where(z > 0, 1.0, 0.01)"}  # fmt: skip
# Fault, and the beginnings of the codes that may name it.
CODES = {
    "softmax_axis": ("BD102",),
    "m_from_features": ("BD101",),
    "bias_axis": ("BD301", "BD405"),
    "bias_no_axis": ("BD302", "BD316"),
    "bias_mean": ("BD303", "BD311"),
    "slope_missing": ("BD304",),
    "slope_argument": ("BD305", "BD306"),
    "slope_of_other": ("BD30",),
    "weights_transposed": ("BD310", "BD300"),
    "gradient_transposed": ("BD310", "BD300"),
    "wrong_input": ("BD307", "BD300"),
    "factor_two": ("BD311", "BD201"),
    "average_twice": ("BD311",),
    "update_sign": ("BD402",),
    "bias_not_updated": ("BD403",),
    "update_early": ("BD401",),
    "loop_bounds": ("BD502", "BD50"),
    "counter_not_reset": ("BD503",),
    "no_square": ("BD408", "BD4"),
}
WHOLE = ("softmax_axis", "m_from_features", "loop_bounds", "counter_not_reset", "no_square")
# Faults of scale, which an optimiser that divides by the size of the gradient takes out again.
SCALES = ("factor_two", "average_twice", "m_from_features", "bias_mean")
WORDS = ("shuru", "quan", "pian", "jiehe", "fanhui", "bolang", "kuzu", "mirto", "velda", "ponk", "tarif", "loom",
         "sedge", "brill", "gant", "hux", "oder", "pliss", "quorn", "rask", "stive", "thole", "umber", "vint", "wend",
         "yarl", "zeb", "abel", "cress", "dorn", "elf", "frith", "glim", "hask", "ibex", "jarl", "knop", "lurch",
         "moke", "nabe")  # fmt: skip
CAMEL = {"W": "weightMatrix", "b": "biasVector", "Z": "netInput", "A": "layerOutput", "dZ": "errorSignal",
         "dW": "weightGradient", "db": "biasGradient", "X": "inputData", "Y": "targetData"}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """One mistake; ``layer`` counts from 1, and 0 is for all layers or none."""

    kind: str
    layer: int = 0

    @property
    def codes(self) -> tuple[str, ...]:
        """Beginnings of the codes that name it."""
        return CODES[self.kind]


@dataclass(frozen=True)
class Written:
    """A program, the lines any of which may be blamed for its fault, and how to read its parameters after a run.

    ``parameters`` maps ``W1``, ``b1`` ... to expressions over the module's names.
    """

    text: str
    lines: frozenset[int]
    parameters: dict[str, str]


def write(recipe: Recipe, fault: Fault | None = None) -> Written:
    """The program of a recipe."""
    author = _drafted(recipe, fault)
    text = "\n".join(author.lines) + "\n"
    return Written(_named(text, recipe), frozenset(author.wrong), author.parameters)


def faults(recipe: Recipe) -> list[Fault]:
    """All single faults that can be made in the program of a recipe."""
    layers = (0,) if recipe.storage in LOOPED else range(1, len(recipe.widths))
    scaled = recipe.optimiser in ("sgd", "momentum", "nesterov")
    kinds = [kind for kind in CODES if scaled or kind not in SCALES]
    candidates = [Fault(kind, layer) for kind in kinds for layer in ((0,) if kind in WHOLE else layers)]
    return [fault for fault in candidates if _drafted(recipe, fault).wrong]


def _drafted(recipe: Recipe, fault: Fault | None) -> Author:
    author = Author(recipe, fault)
    author.write()
    return author


def _named(text: str, recipe: Recipe) -> str:
    if recipe.naming == "usual":
        return text
    shuffled = random.Random(recipe.seed).sample(WORDS, len(WORDS))
    letters = random.Random(recipe.seed).sample("abcdefghijklmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ", 48)

    def name_for(name: str, place: int) -> str:
        if recipe.naming == "letters":
            return letters[place % 48] + (str(place // 48) if place >= 48 else "")
        if recipe.naming == "words":
            return shuffled[place % len(WORDS)] + (str(place // len(WORDS)) if place >= len(WORDS) else "")
        head, tail = name.rstrip("0123456789"), name[len(name.rstrip("0123456789")) :]
        head = CAMEL.get(head, head)
        first, *rest = head.split("_")
        return first + "".join(part.capitalize() for part in rest) + tail

    return renaming.renamed(text, name_for, keys=recipe.storage != "string_keys")[0]


@dataclass
class Author:
    """Writes one program, line by line."""

    recipe: Recipe
    fault: Fault | None
    lines: list[str] = field(default_factory=list)
    wrong: set[int] = field(default_factory=set)
    parameters: dict[str, str] = field(default_factory=dict)
    depth: int = 0
    owner: str = "self"

    # -- lines -----------------------------------------------------------------------------------------

    def put(self, text: str, *, wrong: bool = False) -> None:
        """Append one line."""
        self.lines.append("    " * self.depth + text if text else "")
        if wrong:
            self.wrong.add(len(self.lines))

    @contextlib.contextmanager
    def block(self, head: str, *, wrong: bool = False) -> Iterator[None]:
        """Append a line that opens a block."""
        self.put(head, wrong=wrong)
        self.depth += 1
        yield
        self.depth -= 1

    @contextlib.contextmanager
    def function(self, head: str) -> Iterator[None]:
        """Append a function, with a blank line before it."""
        self.put("")
        with self.block(f"def {head}:"):
            yield

    def has(self, kind: str, layer: int = 0) -> bool:
        """Whether this is the fault to make at this layer."""
        return self.fault == Fault(kind, layer)

    # -- names -----------------------------------------------------------------------------------------

    @property
    def depth_of_net(self) -> int:
        return len(self.recipe.widths) - 1

    def layers(self) -> range:
        return range(1, self.depth_of_net + 1)

    def kinds(self) -> tuple[str, ...]:
        """Kinds of parameters a layer has."""
        return ("W", "b") if self.recipe.bias in ("vector", "flat") else ("W",)

    def states(self) -> tuple[str, ...]:
        """Kinds of memory the optimiser keeps of each parameter."""
        of = {"sgd": (), "momentum": ("v",), "nesterov": ("v",), "adagrad": ("s",), "rmsprop": ("s",)}
        return of.get(self.recipe.optimiser, ("v", "s"))

    def ref(self, kind: str, layer: int | str) -> str:
        """How the program says W1, A1, dW1 ... in its way of storing them; ``layer`` 'l' inside loops."""
        storage = self.recipe.storage
        local = kind in ("dZ", "A_", "Z_")
        if storage in ("script", "function", "tuples") or (local and storage not in LOOPED):
            return f"{kind}{layer}"
        if storage == "class":
            return f"{self.owner}.{kind}{layer}"
        if storage == "one_dict":
            return f'net["{kind}{layer}"]'
        if storage == "dicts":
            box = "cache" if kind in ("A", "Z") else "grads" if kind.startswith("d") else "params"
            return f'{box}["{kind}{layer}"]'
        if storage == "string_keys":
            box = "cache" if kind in ("A", "Z") else "grads" if kind.startswith("d") else "params"
            box = "memory" if kind[0] in "vs" else box
            key = f'"{kind}{layer}"' if isinstance(layer, int) else f'"{kind}" + str({layer})'
            return f"{box}[{key}]"
        box = {"W": "weights", "b": "biases", "dW": "weight_grads", "db": "bias_grads", "A": "outputs",
               "Z": "sums"}.get(kind, f"{kind[1:]}_{kind[0]}")  # fmt: skip
        index = layer if kind == "A" else f"{layer} - 1" if isinstance(layer, str) else layer - 1
        return f"{box}[{index}]"

    def source(self, layer: int | str) -> str:
        """The output of the layer below."""
        return self.ref("A", f"{layer} - 1" if isinstance(layer, str) else layer - 1)

    # -- mathematics -----------------------------------------------------------------------------------

    def affine(self, a: str, weights: str, bias: str) -> str:
        recipe = self.recipe
        if recipe.bias == "ones":
            a = f"with_ones({a})"
        product = f"{a} @ {weights}" if recipe.layout == "samples" else f"{weights} @ {a}"
        return f"{product} + {bias}" if "b" in self.kinds() else product

    def weights_grad(self, layer: int, delta: str, a: str, z: str, weights: str) -> tuple[str, bool]:
        """Gradient of the weights, and whether it is wrong."""
        recipe = self.recipe
        wrong = False
        below = recipe.activations[layer - 2] if layer > 1 else ""
        if self.has("wrong_input", layer) and z and recipe.bias != "ones" and below:
            a, wrong = z, True
        if recipe.bias == "ones":
            a = f"with_ones({a})"
        left, right = (a, delta) if recipe.layout == "samples" else (delta, a)
        square = self.is_square(layer)
        if self.has("gradient_transposed", layer) and square:
            left, right, wrong = right, left, True
        if recipe.layout == "vector":
            text = f"np.outer({left}, {right})"
        else:
            text = f"{left}.T @ {right}" if recipe.layout == "samples" else f"{left} @ {right}.T"
        if self.has("factor_two", layer) and self.is_parted(layer):
            text, wrong = f"2 * {text}", True
        if recipe.is_mean and recipe.division == "gradient":
            text += " / m"
            if self.has("average_twice", layer) and self.is_parted(layer):
                text, wrong = f"{text} / m", True
        return self.decayed(text, weights), wrong

    def is_parted(self, layer: int) -> bool:
        """Whether other gradients keep their scale when that of a layer's weights changes."""
        return "b" in self.kinds() or (layer > 0 and self.depth_of_net > 1)

    def decayed(self, text: str, weights: str) -> str:
        return f"{text} + decay * {weights}" if self.recipe.decay else text

    def is_square(self, layer: int) -> bool:
        """Whether the weights of a layer, or of all but the first and any other by chance, are square."""
        widths, ones = self.recipe.widths, self.recipe.bias == "ones"
        pairs = [(widths[layer - 1], widths[layer])] if layer else list(itertools.pairwise(widths[1:]))
        return bool(pairs) and not ones and all(i == o and i > 1 for i, o in pairs)

    def bias_grad(self, layer: int, delta: str) -> tuple[str, bool]:
        recipe = self.recipe
        width = min(recipe.widths[1:]) if layer == 0 else recipe.widths[layer]
        wrong = False
        if self.has("bias_no_axis", layer) and width > 1:
            text, wrong = f"np.sum({delta})", True
        elif recipe.layout in PER_SAMPLE:
            return delta, False
        else:
            axis = 0 if recipe.layout == "samples" else 1
            call = "np.sum"
            fits = recipe.batching == "full" and not recipe.inplace and not recipe.has_test_set
            if (
                self.has("bias_axis", layer)
                and fits
                and recipe.bias == "vector"
                and width != recipe.samples > 1 != width
            ):
                axis, wrong = 1 - axis, True
            if self.has("bias_mean", layer):
                call, wrong = "np.mean", True
            text = f"{call}({delta}, axis={axis}{'' if recipe.bias == 'flat' else ', keepdims=True'})"
        return (f"{text} / m" if recipe.is_mean and recipe.division == "gradient" else text), wrong

    def carried(self, layer: int, delta: str, weights: str) -> tuple[str, bool]:
        """The error handed to the layer below."""
        recipe = self.recipe
        wrong = self.has("weights_transposed", layer) and self.is_square(layer)
        if recipe.layout == "samples":
            weights = f"{weights}[:-1]" if recipe.bias == "ones" else weights
            return f"{delta} @ {weights}{'' if wrong else '.T'}", wrong
        weights = f"{weights}[:, :-1]" if recipe.bias == "ones" else weights
        return f"{weights}{'' if wrong else '.T'} @ {delta}", wrong

    def slope(self, layer: int, z: str, a: str) -> tuple[str, bool]:
        """Derivative of a hidden layer's activation, written out, and whether it is wrong."""
        name, wrong = self.recipe.activations[layer - 1], False
        curved = name in ("tanh", "sigmoid")
        if self.has("slope_argument", layer) and curved and z:
            z, a, wrong = a, z, True
        if self.has("slope_of_other", layer):
            name, wrong = "sigmoid" if name == "tanh" else "tanh", True
        if self.recipe.slope == "input":
            return f"{name}_slope({z})", wrong
        text = SLOPES_OF_OUTPUT[name].format(a)
        return text if name in ("relu", "leaky") else f"({text})", wrong

    def output_delta(self, output: str, labels: str) -> str:
        """Derivative of the loss by the last pre-activation."""
        recipe = self.recipe
        text = f"{labels} - {output}" if recipe.ascent else f"{output} - {labels}"
        if recipe.loss == "squared":
            text = f"2 * ({text})"
        if recipe.output == "sigmoid" and recipe.loss != "binary":
            text = f"{text if recipe.loss == 'squared' else f'({text})'} * {output} * (1 - {output})"
        if recipe.is_mean and recipe.division == "delta":
            text = f"{text} / m" if text.startswith(("2 *", "(")) else f"({text}) / m"
        return text

    def loss(self, output: str, labels: str, count: str) -> str:
        recipe = self.recipe
        tiny = "1e-8" if recipe.dtype == "float32" else "1e-12"
        if recipe.loss == "cross-entropy" and recipe.labels == "index":
            text = f"-np.sum(np.log({output}[np.arange(len({labels})), {labels}] + {tiny}))"
        elif recipe.loss == "cross-entropy":
            text = f"-np.sum({labels} * np.log({output} + {tiny}))"
        elif recipe.loss == "binary":
            text = f"-np.sum({labels} * np.log({output} + {tiny}) + (1 - {labels}) * np.log(1 - {output} + {tiny}))"
        else:
            text = f"np.sum(({output} - {labels}) ** 2)"
            text = f"0.5 * {text}" if recipe.loss == "half" else text
        return f"{text} / {count}" if recipe.is_mean else text

    def penalty(self) -> str:
        """What weight decay adds to the loss."""
        recipe = self.recipe
        if not recipe.decay:
            return ""
        if recipe.storage == "lists":
            squares = "sum(np.sum(w ** 2) for w in weights)"
        elif recipe.storage == "layers":
            squares = "sum(np.sum(layer.W ** 2) for layer in layers if isinstance(layer, Dense))"
        elif recipe.storage == "string_keys":
            squares = f'sum(np.sum(params["W" + str(l)] ** 2) for l in range(1, {self.depth_of_net + 1}))'
        else:
            squares = " + ".join(f"np.sum({self.ref('W', layer)} ** 2)" for layer in self.layers())
        return f" + 0.5 * decay * ({squares})"

    def count(self, x: str) -> str:
        """The number of samples, as the program says it."""
        axis = 1 if self.recipe.layout == "features" else 0
        return f"{x}.shape[{axis}]"

    def put_count(self, x: str) -> None:
        if not self.recipe.is_mean:
            return
        right = 1 if self.recipe.layout == "features" else 0
        wrong = self.has("m_from_features")
        self.put(f"m = {x}.shape[{1 - right if wrong else right}]", wrong=wrong)

    # -- updates ---------------------------------------------------------------------------------------

    def put_update(self, parameter: str, grad: str, state: dict[str, str], kind: str, layer: int) -> None:
        """One parameter's step."""
        recipe = self.recipe
        if kind == "b" and self.has("bias_not_updated", layer):
            if recipe.optimiser == "sgd" and recipe.storage in ("script", "function", "tuples"):
                sign = "+" if recipe.ascent else "-"
                self.put(f"{grad} = {parameter} {sign} rate * {grad}", wrong=True)
            return
        wrong = kind == "W" and self.has("update_sign", layer)
        sign = "+" if recipe.ascent != wrong else "-"
        v, s = state.get("v", ""), state.get("s", "")
        optimiser = recipe.optimiser
        if optimiser == "sgd":
            text = (
                f"{parameter} {sign}= rate * {grad}"
                if recipe.inplace
                else f"{parameter} = {parameter} {sign} rate * {grad}"
            )
            self.put(text, wrong=wrong)
            return
        square = "" if self.has("no_square") else " ** 2"
        if optimiser == "momentum":
            self.put(f"{v} = 0.9 * {v} {sign} rate * {grad}", wrong=wrong)
            step, sign = v, "+"
        elif optimiser == "nesterov":
            self.put(f"last = {v}")
            self.put(f"{v} = 0.9 * {v} {sign} rate * {grad}", wrong=wrong)
            step, sign = f"1.9 * {v} - 0.9 * last", "+"
        elif optimiser == "adagrad":
            self.put(f"{s} = {s} + {grad} ** 2")
            step = f"rate * {grad} / (np.sqrt({s}) + 1e-8)"
        elif optimiser == "rmsprop":
            self.put(f"{s} = 0.9 * {s} + 0.1 * {grad} ** 2")
            root = s if not square else f"np.sqrt({s})"
            step = f"rate * {grad} / ({root} + 1e-8)"
        else:
            self.put(f"{v} = 0.9 * {v} + 0.1 * {grad}")
            self.put(f"{s} = 0.999 * {s} + 0.001 * {grad} ** 2")
            fixed = f"{s} / (1 - 0.999 ** t)"
            step = f"rate * ({v} / (1 - 0.9 ** t)) / ({fixed if not square else f'np.sqrt({fixed})'} + 1e-8)"
        unrooted = not square and optimiser in ("rmsprop", "adam")
        self.put(
            f"{parameter} = {parameter} {sign} {step}",
            wrong=(wrong and optimiser in ("adagrad", "rmsprop", "adam")) or unrooted,
        )
        if wrong and optimiser in ("momentum", "nesterov"):
            self.wrong.add(len(self.lines))

    # -- pieces that many forms share ------------------------------------------------------------------

    def initial(self, inputs: str, outputs: str, kind: str) -> str:
        """A parameter at the start."""
        recipe = self.recipe
        narrow = recipe.dtype == "float32"
        if kind == "W":
            into = f"{inputs} + 1" if recipe.bias == "ones" else inputs
            shape = f"{into}, {outputs}" if recipe.layout == "samples" else f"{outputs}, {into}"
            text = f"np.random.randn({shape}) / np.sqrt({inputs})"
            return f"({text}).astype(np.float32)" if narrow else text
        shape = outputs
        if recipe.layout == "samples" and recipe.bias == "vector":
            shape = f"(1, {outputs})"
        elif recipe.layout in ("features", "column"):
            shape = f"({outputs}, 1)"
        return f"np.zeros({shape}{', dtype=np.float32' if narrow else ''})"

    def put_header(self) -> None:
        recipe = self.recipe
        self.put("import numpy as np")
        if recipe.data == "mnist":
            self.put("import tensorflow as tf")
        self.put("")
        self.put(f"np.random.seed({recipe.seed})")
        if recipe.data == "mnist":
            self.put("(train_images, train_digits), (test_images, test_digits) = tf.keras.datasets.mnist.load_data()")
            self.put("X = train_images.reshape(-1, 784) / 255.0")
            self.put("Xt = test_images.reshape(-1, 784) / 255.0")
            if recipe.labels == "index":
                self.put("Y, Yt = train_digits.astype(int), test_digits.astype(int)")
            else:
                self.put("Y = np.eye(10)[train_digits]")
                self.put("Yt = np.eye(10)[test_digits]")
        elif recipe.data == "xor":
            self.put("X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])")
            if recipe.labels == "index":
                self.put("Y = np.array([0, 1, 1, 0])")
            elif recipe.outputs == 1:
                self.put("Y = np.array([[0.0], [1.0], [1.0], [0.0]])")
            else:
                self.put("Y = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])")
            self.put("Xt, Yt = X, Y")
        else:
            total = recipe.samples + 50
            self.put(f"X = np.random.randn({total}, {recipe.features})")
            if recipe.outputs > 1:
                self.put(f"kinds = np.argmax(X @ np.random.randn({recipe.features}, {recipe.outputs}), axis=1)")
                self.put("Y = kinds" if recipe.labels == "index" else f"Y = np.eye({recipe.outputs})[kinds]")
            elif recipe.output == "linear":
                self.put("Y = np.sin(X[:, :1]) + 0.5 * X[:, 1:2]")
            else:
                self.put("Y = (X[:, 0] * X[:, 1] > 0).astype(float).reshape(-1, 1)")
            self.put(f"X, Xt = X[:{recipe.samples}], X[{recipe.samples}:]")
            self.put(f"Y, Yt = Y[:{recipe.samples}], Y[{recipe.samples}:]")
        if recipe.layout == "features":
            self.put("X, Xt, Y, Yt = X.T, Xt.T, Y.T, Yt.T")
        if recipe.dtype == "float32":
            names = "X, Xt" if recipe.labels == "index" else "X, Xt, Y, Yt"
            casts = ", ".join(f"{name}.astype(np.float32)" for name in names.split(", "))
            self.put(f"{names} = {casts}")
        if recipe.decay:
            self.put(f"decay = {recipe.decay}")

    def put_functions(self) -> None:
        recipe = self.recipe
        names = dict.fromkeys(recipe.activations)
        other = {
            ("sigmoid" if n == "tanh" else "tanh"): None
            for n in names
            if self.fault and self.fault.kind == "slope_of_other"
        }
        if recipe.output == "sigmoid":
            names["sigmoid"] = None
        slopes = recipe.slope == "input" or recipe.storage in ("lists", "string_keys")
        needed = {**names, **(other if slopes else {})}
        if "sigmoid" in names or ("sigmoid" in needed and recipe.slope == "input"):
            needed["sigmoid"] = None
        for name in needed:
            with self.function(f"{name}(z)"):
                self.put(f"return {ACTIVATIONS[name]}")
        if slopes:
            for name in {**dict.fromkeys(recipe.activations), **other}:
                with self.function(f"{name}_slope({'z' if recipe.slope == 'input' else 'a'})"):
                    body = SLOPES_OF_INPUT[name] if recipe.slope == "input" else SLOPES_OF_OUTPUT[name].format("a")
                    self.put(f"return {body}")
        if recipe.output == "softmax":
            axis = {"samples": 1, "vector": None}.get(recipe.layout, 0)
            wrong = self.has("softmax_axis") and recipe.layout in ("samples", "features")
            tail = lambda a: "" if a is None else f", axis={a}, keepdims=True"  # noqa: E731
            with self.function("softmax(z)"):
                self.put(f"e = np.exp(z - np.max(z{tail(axis)}))")
                self.put(f"return e / np.sum(e{tail(1 - axis if wrong and axis is not None else axis)})", wrong=wrong)
        if recipe.bias == "ones":
            with self.function("with_ones(a)"):
                if recipe.layout == "vector":
                    self.put("return np.append(a, 1.0)")
                elif recipe.layout == "samples":
                    self.put("return np.hstack([a, np.ones((a.shape[0], 1))])")
                else:
                    self.put("return np.vstack([a, np.ones((1, a.shape[1]))])")
        if recipe.shown == "function":
            with self.function("cost(A, Y)"):
                if recipe.is_mean:
                    self.put(f"n = {self.count('A')}")
                self.put(f"return {self.loss('A', 'Y', 'n')}")

    def activated(self, layer: int, z: str) -> str:
        recipe = self.recipe
        if layer == self.depth_of_net:
            return z if recipe.output == "linear" else f"{recipe.output}({z})"
        return f"{recipe.activations[layer - 1]}({z})"

    def put_forward(self, x: str, *, suffix: str = "") -> str:
        """The forward pass layer by layer; the name of its output."""
        recipe = self.recipe
        a = x
        for layer in self.layers():
            z, out = self.ref(f"Z{suffix}", layer), self.ref(f"A{suffix}", layer)
            affine = self.affine(a, self.ref("W", layer), self.ref("b", layer))
            if recipe.named and not (layer == self.depth_of_net and recipe.output == "linear"):
                self.put(f"{z} = {affine}")
                self.put(f"{out} = {self.activated(layer, z)}")
            else:
                self.put(f"{out} = {self.activated(layer, affine)}")
            a = out
        return a

    def put_backward(self, labels: str, x: str, *, update: bool) -> None:
        """The backward pass layer by layer; with the updates where one belongs between."""
        recipe = self.recipe
        last = self.depth_of_net
        self.put_output_delta(self.ref("dZ", last), self.ref("A", last), labels)
        for layer in reversed(self.layers()):
            a = self.source(layer) if layer > 1 or recipe.storage in ("class", "dicts", "one_dict") else x
            below = self.ref("Z", layer - 1) if layer > 1 and recipe.named else ""
            text, wrong = self.weights_grad(layer, self.ref("dZ", layer), a, below, self.ref("W", layer))
            self.put(f"{self.ref('dW', layer)} = {text}", wrong=wrong)
            if "b" in self.kinds():
                text, wrong = self.bias_grad(layer, self.ref("dZ", layer))
                unmoved = self.has("bias_not_updated", layer) and recipe.storage != "dicts"
                self.put(f"{self.ref('db', layer)} = {text}", wrong=wrong or unmoved)
            if layer > 1:
                if update and self.has("update_early", layer):
                    before = len(self.lines)
                    self.put_layer_update(layer)
                    self.wrong |= set(range(before + 1, len(self.lines) + 1))
                self.put_delta_below(layer)

    def put_output_delta(self, delta: str, output: str, labels: str) -> None:
        recipe = self.recipe
        if recipe.labels == "one-hot":
            self.put(f"{delta} = {self.output_delta(output, labels)}")
            return
        self.put(f"{delta} = {output}.copy()")
        self.put(f"{delta}[np.arange(len({labels})), {labels}] -= 1")
        if recipe.is_mean and recipe.division == "delta":
            self.put(f"{delta} = {delta} / m")

    def put_delta_below(self, layer: int) -> None:
        carried, wrong = self.carried(layer, self.ref("dZ", layer), self.ref("W", layer))
        below = self.ref("dZ", layer - 1)
        if self.has("slope_missing", layer - 1):
            self.put(f"{below} = {carried}", wrong=True)
            return
        z = self.ref("Z", layer - 1) if self.recipe.named else ""
        slope, bent = self.slope(layer - 1, z, self.ref("A", layer - 1))
        text = f"({carried}) * {slope}"
        if (
            self.has("average_twice", layer - 1)
            and self.recipe.is_mean
            and self.recipe.division == "delta"
            and self.recipe.batch > 1
        ):
            text, bent = f"{text} / m", True
        self.put(f"{below} = {text}", wrong=wrong or bent)

    def put_layer_update(self, layer: int) -> None:
        for kind in self.kinds():
            state = {s: self.ref(s + kind, layer) for s in self.states()}
            self.put_update(self.ref(kind, layer), self.ref(f"d{kind}", layer), state, kind, layer)

    def put_all_updates(self, *, apart: bool = False) -> None:
        for layer in self.layers():
            if apart or not (self.has("update_early", layer) and layer > 1):
                self.put_layer_update(layer)

    def put_initial(self) -> None:
        """All parameters and the optimiser's memory, layer by layer."""
        widths = self.recipe.widths
        for layer in self.layers():
            for kind in self.kinds():
                text = self.initial(str(widths[layer - 1]), str(widths[layer]), kind)
                unmoved = kind == "b" and self.has("bias_not_updated", layer)
                self.put(f"{self.ref(kind, layer)} = {text}", wrong=unmoved)
        for layer in self.layers():
            for kind in self.kinds():
                for state in self.states():
                    self.put(f"{self.ref(state + kind, layer)} = np.zeros_like({self.ref(kind, layer)})")

    # -- the training loop -----------------------------------------------------------------------------

    def put_training(self, step: Step) -> None:
        """Epochs, batches, what is printed; the form says what a step is."""
        recipe = self.recipe
        if isinstance(step, (Inline, Loops)) and not step.epochs:
            self.put(f"rate = {recipe.rate}")
        if self.has_clock("outside"):
            self.put("t = 0")
        counter = recipe.metric == "loop" or (recipe.metric == "mean" and recipe.layout in PER_SAMPLE)
        if counter and self.has("counter_not_reset"):
            self.put("correct = 0", wrong=True)
        with self.block(f"for epoch in range({recipe.epochs if step.epochs == '' else step.epochs}):"):
            self.put_batches(step)
            shown = ["epoch"]
            if recipe.shown == "after":
                x, y = ("X", "Y") if recipe.layout not in PER_SAMPLE else ("x", "y")
                output = step.evaluate(x)
                self.put(f"loss = {self.loss(output, y, self.count('X'))}{self.penalty()}")
            if recipe.shown in ("before", "after", "function"):
                shown.append("loss")
            if recipe.metric != "none":
                self.put_metric(step, counter=counter)
                shown.append("accuracy")
            self.put(f"print({', '.join(shown)})")

    def has_clock(self, where: str) -> bool:
        inside = self.recipe.storage in ("class", "layers")
        return self.recipe.optimiser == "adam" and where == ("inside" if inside else "outside")

    def put_batches(self, step: Step) -> None:
        recipe = self.recipe
        if recipe.layout in PER_SAMPLE:
            with self.block("for i in np.random.permutation(len(X)):"):
                shape = ".reshape(-1, 1)" if recipe.layout == "column" else ""
                self.put(f"x = X[i]{shape}")
                self.put(f"y = Y[i]{shape}")
                self.put_step(step, "x", "y")
        elif recipe.batching == "mini":
            count = self.count("X")
            self.put(f"order = np.random.permutation({count})")
            with self.block(f"for start in range(0, {count}, {recipe.batch}):"):
                self.put(f"pick = order[start:start + {recipe.batch}]")
                rows = ":, pick" if recipe.layout == "features" else "pick"
                self.put(f"x = X[{rows}]")
                self.put(f"y = Y[{rows}]")
                self.put_step(step, "x", "y")
        else:
            self.put_step(step, "X", "Y")

    def put_step(self, step: Step, x: str, y: str) -> None:
        recipe = self.recipe
        output = step.forward(x)
        if step.counts:
            self.put_count(x)
        loss = self.loss(output, y, "m" if step.counts else self.count(x)) + self.penalty()
        if recipe.shown == "before":
            self.put(f"loss = {loss}")
        elif recipe.shown == "function":
            self.put(f"loss = cost({output}, {y}){self.penalty()}")
        elif recipe.shown == "sometimes":
            with self.block("if epoch % 10 == 0:"):
                self.put(f"loss = {loss}")
                self.put("print(epoch, loss)")
        if self.has_clock("outside"):
            self.put("t += 1")
        step.backward(x, y)

    def put_metric(self, step: Step, *, counter: bool) -> None:
        recipe = self.recipe
        one = recipe.outputs == 1
        if not counter:
            output = step.evaluate("Xt")
            axis = 0 if recipe.layout == "features" else 1
            labels = "Yt" if recipe.labels == "index" else f"np.argmax(Yt, axis={axis})"
            equal = f"({output} > 0.5) == (Yt > 0.5)" if one else f"np.argmax({output}, axis={axis}) == {labels}"
            self.put(f"accuracy = np.mean({equal})")
            return
        if not self.has("counter_not_reset"):
            self.put("correct = 0")
        count = "len(Xt)" if recipe.layout in PER_SAMPLE else self.count("Xt")
        over = count
        wrong = self.has("loop_bounds") and recipe.labels != "index" and recipe.layout not in PER_SAMPLE
        if wrong:
            over = f"Yt.shape[{0 if recipe.layout == 'features' else 1}]"
        if recipe.layout not in PER_SAMPLE:
            output = step.evaluate("Xt")
        with self.block(f"for i in range({over}):", wrong=wrong):
            if recipe.layout in PER_SAMPLE:
                output = step.evaluate("Xt[i].reshape(-1, 1)" if recipe.layout == "column" else "Xt[i]")
                guess, answer = output, "Yt[i]"
            else:
                guess, answer = (
                    (f"{output}[:, i]", "Yt[:, i]") if recipe.layout == "features" else (f"{output}[i]", "Yt[i]")
                )
            if one:
                guess, answer = (f"{guess}.item() > 0.5", f"{answer}.item() > 0.5")
            else:
                guess = f"np.argmax({guess})"
                answer = answer if recipe.labels == "index" else f"np.argmax({answer})"
            with self.block(f"if ({guess}) == ({answer}):" if one else f"if {guess} == {answer}:"):
                self.put("correct += 1")
        self.put(f"accuracy = correct / {count}")

    # -- whole programs --------------------------------------------------------------------------------

    def write(self) -> None:
        """Write the program in the recipe's form."""
        self.put_header()
        self.put_functions()
        getattr(self, f"write_{self.recipe.storage}")()

    def write_script(self) -> None:
        self.put("")
        self.put_initial()
        self.put_training(Inline(self))
        self.parameters = {f"{kind}{layer}": f"{kind}{layer}" for layer in self.layers() for kind in self.kinds()}

    def write_function(self) -> None:
        with self.function("train(X, Y, Xt, Yt, epochs, rate)"):
            self.put_initial()
            self.put_training(Inline(self, "epochs"))
            self.put(f"return {self.tupled(self.kinds())}")
        self.put_call()

    def tupled(self, kinds: tuple[str, ...], layers: range | None = None) -> str:
        names = [f"{kind}{layer}" for layer in (layers or self.layers()) for kind in kinds]
        return ", ".join(names) + ("," if len(names) == 1 else "")

    def put_call(self) -> None:
        self.put("")
        self.put("")
        self.put(f"result = train(X, Y, Xt, Yt, {self.recipe.epochs}, {self.recipe.rate})")
        names = [f"{kind}{layer}" for layer in self.layers() for kind in self.kinds()]
        self.parameters = {name: f"result[{place}]" for place, name in enumerate(names)}

    def write_tuples(self) -> None:
        kinds = self.kinds()
        kept = ("Z", "A") if self.recipe.named else ("A",)
        names = [f"{k}{n}" for n in self.layers() for k in kept]
        if self.recipe.named and self.recipe.output == "linear":
            names.remove(f"Z{self.depth_of_net}")
        self.kept = ", ".join(names) + ("," if len(names) == 1 else "")
        with self.function("initialise()"):
            for layer in self.layers():
                for kind in kinds:
                    text = self.initial(str(self.recipe.widths[layer - 1]), str(self.recipe.widths[layer]), kind)
                    self.put(f"{kind}{layer} = {text}", wrong=kind == "b" and self.has("bias_not_updated", layer))
            self.put(f"return {self.tupled(kinds)}")
        with self.function("forward(X, parameters)"):
            self.put(f"{self.tupled(kinds)} = parameters")
            self.put_forward("X")
            self.put(f"return {self.kept}")
        grads = tuple(f"d{kind}" for kind in kinds)
        with self.function("backward(X, Y, parameters, values)"):
            self.put(f"{self.tupled(kinds)} = parameters")
            self.put(f"{self.kept} = values")
            self.put_count("X")
            self.put_backward("Y", "X", update=False)
            self.put(f"return {self.tupled(grads)}")
        with self.function("train(X, Y, Xt, Yt, epochs, rate)"):
            self.put(f"{self.tupled(kinds)} = initialise()")
            for layer in self.layers():
                for kind in kinds:
                    for state in self.states():
                        self.put(f"{state}{kind}{layer} = np.zeros_like({kind}{layer})")
            self.put_training(Tuples(self, "epochs"))
            self.put(f"return {self.tupled(kinds)}")
        self.put_call()

    def write_dicts(self) -> None:
        with self.function("initialise()"):
            self.put("params = {}")
            for layer in self.layers():
                for kind in self.kinds():
                    text = self.initial(str(self.recipe.widths[layer - 1]), str(self.recipe.widths[layer]), kind)
                    self.put(f'params["{kind}{layer}"] = {text}')
            self.put("return params")
        with self.function("forward(X, params)"):
            self.put('cache = {"A0": X}')
            output = self.put_forward('cache["A0"]')
            self.put(f"return {output}, cache")
        with self.function("backward(Y, params, cache)"):
            self.put("grads = {}")
            if self.recipe.is_mean:
                self.put_count('cache["A0"]')
            self.put_backward("Y", "", update=False)
            self.put("return grads")
        clock = ", t" if self.has_clock("outside") else ""
        memory = ", memory" if self.states() else ""
        with self.function(f"update(params, grads, rate{memory}{clock})"), self.block("for key in params:"):
            state = {s: f'memory["{s}"][key]' for s in self.states()}
            self.put_update("params[key]", 'grads["d" + key]', state, "W", 0)
        self.put("")
        self.put("")
        self.put("params = initialise()")
        if self.states():
            zeros = "{key: np.zeros_like(value) for key, value in params.items()}"
            self.put("memory = {" + ", ".join(f'"{s}": {zeros}' for s in self.states()) + "}")
        self.put_training(Dicts(self))
        self.parameters = {f"{k}{n}": f'params["{k}{n}"]' for n in self.layers() for k in self.kinds()}

    def write_one_dict(self) -> None:
        self.put("")
        self.put("net = {}")
        self.put_initial()
        with self.function("forward(net, X)"):
            self.put('net["A0"] = X')
            output = self.put_forward('net["A0"]')
            self.put(f"return {output}")
        clock = ", t" if self.has_clock("outside") else ""
        with self.function(f"step(net, Y, rate{clock})"):
            self.put_count('net["A0"]')
            self.put_backward("Y", "", update=True)
            self.put_all_updates()
        self.put("")
        self.put("")
        self.put_training(OneDict(self))
        self.parameters = {f"{k}{n}": f'net["{k}{n}"]' for n in self.layers() for k in self.kinds()}

    def write_class(self) -> None:
        self.put("")
        self.put("")
        with self.block("class Network:"):
            with self.block("def __init__(self, rate):"):
                self.put("self.rate = rate")
                if self.has_clock("inside"):
                    self.put("self.t = 0")
                self.put_initial()
            with self.function("forward(self, X)"):
                self.put("self.A0 = X")
                self.put(f"return {self.put_forward('self.A0')}")
            with self.function("backward(self, Y)"):
                self.put_count("self.A0")
                self.put_backward("Y", "", update=False)
            with self.function("update(self)"):
                if self.has_clock("inside"):
                    self.put("self.t += 1")
                    self.put("t = self.t")
                self.put("rate = self.rate")
                self.put_all_updates(apart=True)
        self.put("")
        self.put("")
        self.owner = "net"
        self.put(f"net = Network({self.recipe.rate})")
        self.put_training(Method(self))
        self.parameters = {f"{k}{n}": f"net.{k}{n}" for n in self.layers() for k in self.kinds()}

    def write_lists(self) -> None:
        self.put_loops()

    def write_string_keys(self) -> None:
        self.put_loops()

    def put_loops(self) -> None:
        """Layers in loops, over lists or over keys made of strings."""
        recipe, last = self.recipe, self.depth_of_net
        self.put("")
        self.put(f"sizes = {list(recipe.widths)}")
        output = "identity" if recipe.output == "linear" else recipe.output
        if output == "identity":
            with self.function("identity(z)"):
                self.put("return z")
            self.put("")
        self.put(f"activations = [{', '.join((*recipe.activations, output))}]")
        slopes = [f"{name}_slope" for name in recipe.activations]
        if self.has("slope_of_other") and slopes:
            slopes = ["sigmoid_slope" if s == "tanh_slope" else "tanh_slope" for s in slopes]
            self.put(f"slopes = [{', '.join(slopes)}]", wrong=True)
        elif slopes:
            self.put(f"slopes = [{', '.join(slopes)}]")
        grads = tuple(f"d{kind}" for kind in self.kinds())
        if recipe.storage == "lists":
            for kind in self.kinds():
                text = self.initial("i", "o", kind)
                name = self.ref(kind, 1).partition("[")[0]
                unmoved = kind == "b" and self.has("bias_not_updated")
                self.put(f"{name} = [{text} for i, o in zip(sizes[:-1], sizes[1:])]", wrong=unmoved)
                for state in self.states():
                    self.put(f"{self.ref(state + kind, 1).partition('[')[0]} = [np.zeros_like(p) for p in {name}]")
        else:
            self.put("params = {}")
            if self.states():
                self.put("memory = {}")
            with self.block(f"for l in range(1, {last + 1}):"):
                for kind in self.kinds():
                    text = self.initial("sizes[l - 1]", "sizes[l]", kind)
                    unmoved = kind == "b" and self.has("bias_not_updated")
                    self.put(f"{self.ref(kind, 'l')} = {text}", wrong=unmoved)
                    for state in self.states():
                        self.put(f"{self.ref(state + kind, 'l')} = np.zeros_like({self.ref(kind, 'l')})")
        with self.function("forward(X)"):
            if recipe.storage == "lists":
                self.put("outputs, sums = [X], []")
            else:
                self.put('cache = {"A0": X}')
            with self.block(f"for l in range(1, {last + 1}):"):
                self.put(f"z = {self.affine(self.source('l'), self.ref('W', 'l'), self.ref('b', 'l'))}")
                if recipe.storage == "lists":
                    self.put("sums.append(z)")
                    self.put("outputs.append(activations[l - 1](z))")
                else:
                    self.put(f"{self.ref('Z', 'l')} = z")
                    self.put(f"{self.ref('A', 'l')} = activations[l - 1](z)")
            self.put("return outputs, sums" if recipe.storage == "lists" else "return cache")
        values = "outputs, sums" if recipe.storage == "lists" else "cache"
        with self.function(f"backward(Y, {values})"):
            if recipe.storage == "lists":
                for grad in grads:
                    self.put(f"{self.ref(grad, 1).partition('[')[0]} = [None] * {last}")
            else:
                self.put("grads = {}")
            if recipe.is_mean:
                self.put_count(self.ref("A", 0))
            self.put_output_delta("delta", self.ref("A", last), "Y")
            with self.block(f"for l in range({last}, 0, -1):"):
                text, wrong = self.weights_grad(0, "delta", self.source("l"), "", self.ref("W", "l"))
                self.put(f"{self.ref('dW', 'l')} = {text}", wrong=wrong)
                if "b" in self.kinds():
                    text, wrong = self.bias_grad(0, "delta")
                    self.put(f"{self.ref('db', 'l')} = {text}", wrong=wrong or self.has("bias_not_updated"))
                if last > 1:
                    with self.block("if l > 1:"):
                        self.put_delta_in_loop()
            names = [self.ref(g, 1).partition("[")[0] for g in grads]
            self.put(f"return {', '.join(names)}" if recipe.storage == "lists" else "return grads")
        self.put("")
        self.put("")
        self.put_training(Loops(self))
        self.parameters = {f"{k}{n}": self.ref(k, n) for n in self.layers() for k in self.kinds()}

    def put_delta_in_loop(self) -> None:
        carried, wrong = self.carried(0, "delta", self.ref("W", "l"))
        if self.has("slope_missing"):
            self.put(f"delta = {carried}", wrong=True)
            return
        z, a = self.ref("Z", "l - 1"), self.source("l")
        of = z if self.recipe.slope == "input" else a
        if self.has("slope_argument") and {"tanh", "sigmoid"} & set(self.recipe.activations):
            of, wrong = (a if of == z else z), True
        twice = (
            self.has("average_twice")
            and self.recipe.is_mean
            and self.recipe.division == "delta"
            and self.recipe.batch > 1
        )
        wrong = wrong or twice or self.has("slope_of_other")
        self.put(f"delta = ({carried}) * slopes[l - 2]({of}){' / m' if twice else ''}", wrong=wrong)

    def write_layers(self) -> None:
        recipe = self.recipe
        adam = self.has_clock("inside")
        self.put("")
        self.put("")
        with self.block("class Dense:"):
            with self.block("def __init__(self, inputs, outputs):"):
                for kind in self.kinds():
                    self.put(
                        f"self.{kind} = {self.initial('inputs', 'outputs', kind)}",
                        wrong=kind == "b" and self.has("bias_not_updated"),
                    )
                    for state in self.states():
                        self.put(f"self.{state}{kind} = np.zeros_like(self.{kind})")
                if adam:
                    self.put("self.t = 0")
            with self.function("forward(self, X)"):
                self.put("self.X = X")
                self.put(f"return {self.affine('X', 'self.W', 'self.b')}")
            with self.function("backward(self, delta, rate)"):
                if recipe.is_mean and recipe.division == "gradient":
                    self.put_count("self.X")
                text, wrong = self.weights_grad(0, "delta", "self.X", "", "self.W")
                self.put(f"dW = {text}", wrong=wrong)
                if "b" in self.kinds():
                    text, wrong = self.bias_grad(0, "delta")
                    self.put(f"db = {text}", wrong=wrong or self.has("bias_not_updated"))
                early = self.has("update_early") and bool(recipe.hidden)
                carried, wrong = self.carried(0, "delta", "self.W")
                if not early:
                    self.put(f"dX = {carried}", wrong=wrong)
                before = len(self.lines)
                if adam:
                    self.put("self.t += 1")
                    self.put("t = self.t")
                for kind in self.kinds():
                    state = {s: f"self.{s}{kind}" for s in self.states()}
                    self.put_update(f"self.{kind}", f"d{kind}", state, kind, 0)
                if early:
                    self.wrong |= set(range(before + 1, len(self.lines) + 2))
                    self.put(f"dX = {carried}")
                self.put("return dX")
        for name in dict.fromkeys(recipe.activations):
            self.put_activation_class(name)
        self.put("")
        self.put("")
        items = []
        for layer in self.layers():
            items.append(f"Dense({recipe.widths[layer - 1]}, {recipe.widths[layer]})")
            if layer < self.depth_of_net:
                items.append(f"{recipe.activations[layer - 1].capitalize()}()")
        self.put(f"layers = [{', '.join(items)}]")
        with self.function("forward(X)"):
            with self.block("for layer in layers:"):
                self.put("X = layer.forward(X)")
            self.put("return X" if recipe.output == "linear" else f"return {recipe.output}(X)")
        self.put("")
        self.put("")
        self.put_training(Objects(self))
        self.parameters = {f"{k}{n}": f"layers[{2 * n - 2}].{k}" for n in self.layers() for k in self.kinds()}

    def put_activation_class(self, name: str) -> None:
        recipe = self.recipe
        of = "z" if recipe.slope == "input" else "a"
        wrong = self.has("slope_argument") and name in ("tanh", "sigmoid") and len(set(recipe.activations)) == 1
        other = self.has("slope_of_other") and len(set(recipe.activations)) == 1
        missing = self.has("slope_missing") and len(set(recipe.activations)) == 1
        self.put("")
        self.put("")
        with self.block(f"class {name.capitalize()}:"):
            with self.block("def forward(self, z):"):
                self.put("self.z = z")
                self.put(f"self.a = {name}(z)")
                self.put("return self.a")
            with self.function("backward(self, delta, rate)"):
                if wrong:
                    of = "a" if of == "z" else "z"
                named = ("sigmoid" if name == "tanh" else "tanh") if other else name
                if missing:
                    self.put("return delta", wrong=True)
                elif recipe.slope == "input":
                    self.put(f"return delta * {named}_slope(self.{of})", wrong=wrong or other)
                else:
                    slope = SLOPES_OF_OUTPUT[named].format(f"self.{of}")
                    self.put(
                        f"return delta * {slope if named in ('relu', 'leaky') else f'({slope})'}", wrong=wrong or other
                    )


@dataclass
class Step:
    """How one form runs its passes inside the training loop."""

    author: Author
    epochs: str = ""

    @property
    def counts(self) -> bool:
        """Whether the loop itself needs the number of samples."""
        return False

    def forward(self, x: str) -> str:
        """Write the forward pass of a training step; the name of its output."""
        raise NotImplementedError

    def evaluate(self, x: str) -> str:
        """Write a forward pass for the loss or accuracy."""
        return self.forward(x)

    def backward(self, x: str, y: str) -> None:
        """Write the backward pass and the update."""
        raise NotImplementedError

    @property
    def rate(self) -> str:
        return str(self.author.recipe.rate)


class Inline(Step):
    """Everything spelled out in the loop."""

    @property
    def counts(self) -> bool:
        return True

    def forward(self, x: str) -> str:
        return self.author.put_forward(x)

    def evaluate(self, x: str) -> str:
        if x.startswith("Xt[i]"):
            self.author.put(f"a = {x}")
            x = "a"
        return self.author.put_forward(x, suffix="_")

    def backward(self, x: str, y: str) -> None:
        self.author.put_backward(y, x, update=True)
        self.author.put_all_updates()


class Tuples(Step):
    """Functions that take and return tuples."""

    def forward(self, x: str) -> str:
        self.author.put(f"values = forward({x}, ({self.author.tupled(self.author.kinds())}))")
        return "values[-1]"

    def evaluate(self, x: str) -> str:
        self.author.put(f"guess = forward({x}, ({self.author.tupled(self.author.kinds())}))[-1]")
        return "guess"

    def backward(self, x: str, y: str) -> None:
        author = self.author
        grads = author.tupled(tuple(f"d{kind}" for kind in author.kinds()))
        author.put(f"{grads} = backward({x}, {y}, ({author.tupled(author.kinds())}), values)")
        author.put_all_updates(apart=True)


class Dicts(Step):
    """Functions that take and return dicts."""

    def forward(self, x: str) -> str:
        self.author.put(f"A, cache = forward({x}, params)")
        return "A"

    def evaluate(self, x: str) -> str:
        self.author.put(f"guess = forward({x}, params)[0]")
        return "guess"

    def backward(self, x: str, y: str) -> None:
        author = self.author
        author.put(f"grads = backward({y}, params, cache)")
        memory = ", memory" if author.states() else ""
        clock = ", t" if author.has_clock("outside") else ""
        author.put(f"update(params, grads, {self.rate}{memory}{clock})")


class OneDict(Step):
    """Parameters, values and gradients in one dict."""

    def forward(self, x: str) -> str:
        self.author.put(f"A = forward(net, {x})")
        return "A"

    def backward(self, x: str, y: str) -> None:
        self.author.put(f"step(net, {y}, {self.rate}{', t' if self.author.has_clock('outside') else ''})")


class Method(Step):
    """An object with three methods."""

    def forward(self, x: str) -> str:
        self.author.put(f"A = net.forward({x})")
        return "A"

    def backward(self, x: str, y: str) -> None:
        self.author.put(f"net.backward({y})")
        self.author.put("net.update()")


class Loops(Step):
    """Lists or string keys, updated in a loop."""

    @property
    def values(self) -> str:
        return "outputs, sums" if self.author.recipe.storage == "lists" else "cache"

    def forward(self, x: str) -> str:
        self.author.put(f"{self.values} = forward({x})")
        return self.author.ref("A", self.author.depth_of_net)

    def evaluate(self, x: str) -> str:
        last = self.author.ref("A", self.author.depth_of_net).partition("[")[2]
        self.author.put(f"guess = forward({x}){'[0]' if self.author.recipe.storage == 'lists' else ''}[{last}")
        return "guess"

    def backward(self, x: str, y: str) -> None:
        author = self.author
        boxes = [author.ref(f"d{kind}", 1).partition("[")[0] for kind in author.kinds()]
        names = ", ".join(boxes) if author.recipe.storage == "lists" else "grads"
        author.put(f"{names} = backward({y}, {self.values})")
        with author.block(f"for l in range(1, {author.depth_of_net + 1}):"):
            for kind in author.kinds():
                state = {s: author.ref(s + kind, "l") for s in author.states()}
                author.put_update(author.ref(kind, "l"), author.ref(f"d{kind}", "l"), state, kind, 0)


class Objects(Step):
    """Layer objects that update themselves."""

    @property
    def counts(self) -> bool:
        recipe = self.author.recipe
        return recipe.is_mean and recipe.division == "delta"

    def forward(self, x: str) -> str:
        self.author.put(f"A = forward({x})")
        return "A"

    def backward(self, x: str, y: str) -> None:
        author = self.author
        author.put_output_delta("delta", "A", y)
        with author.block("for layer in reversed(layers):"):
            author.put(f"delta = layer.backward(delta, {self.rate})")


def twin(recipe: Recipe, *, samples: int) -> Recipe:
    """The recipe whose program takes one step on so many samples, in float64, under usual names."""
    per_sample = recipe.layout in PER_SAMPLE
    data = "made" if recipe.data == "xor" and per_sample else recipe.data
    samples = 1 if per_sample else 4 if recipe.data == "xor" else samples
    return replace(
        recipe, data=data, samples=samples, batch=1 if per_sample else samples, epochs=1, naming="usual",
        dtype="float64", metric="none", shown="never"
    )  # fmt: skip


def main(arguments: list[str]) -> None:
    """Print a program, or the faults that fit it."""
    recipe = random_recipe(int(arguments[0]))
    if arguments[1:] == ["faults"]:
        print(*(f"{f.kind} {f.layer}" for f in faults(recipe)), sep="\n")
        return
    fault = Fault(arguments[1], int(arguments[2]) if len(arguments) > 2 else 0) if len(arguments) > 1 else None
    written = write(recipe, fault)
    for number, line in enumerate(written.text.splitlines(), 1):
        print(line + ("  # <- fault" if number in written.lines else ""))


if __name__ == "__main__":
    main(sys.argv[1:])
