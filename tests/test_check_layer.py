"""Layers: pairs of functions and objects, whose gradients are found by trying."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backprop_doctor import UsageError, check_layer

RNG = np.random.default_rng(0)
X, W, B = RNG.standard_normal((7, 5)), RNG.standard_normal((5, 4)), RNG.standard_normal(4)


def affine(x: Any, w: Any, b: Any) -> Any:
    return x @ w + b, (x, w, b)


def affine_backward(dout: Any, cache: Any) -> Any:
    x, w, _ = cache
    return dout @ w.T, x.T @ dout, dout.sum(axis=0)


def verdicts(report: Any) -> dict[str, str]:
    return {verdict.name: verdict.verdict for verdict in report.verdicts}


# -- pairs -----------------------------------------------------------------------------------------------


def test_a_pair_with_a_cache_is_right() -> None:
    report = check_layer((affine, affine_backward), X, W, B)
    assert verdicts(report) == {"x": "right", "w": "right", "b": "right"}
    assert report.check().passed


@pytest.mark.parametrize("order", [(2, 0, 1), (1, 2, 0), (0, 2, 1)])
def test_gradients_come_in_any_order(order: tuple[int, ...]) -> None:
    def backward(dout: Any, cache: Any) -> Any:
        gradients = affine_backward(dout, cache)
        return tuple(gradients[i] for i in order)

    assert check_layer((affine, backward), X, W, B).passed


def test_gradients_come_in_a_dict_or_alone() -> None:
    def backward(dout: Any, cache: Any) -> Any:
        return dict(zip("abc", affine_backward(dout, cache), strict=True))

    assert check_layer((affine, backward), X, W, B).passed
    assert check_layer((lambda x: (np.tanh(x), np.tanh(x)), lambda dout, a: dout * (1 - a**2)), X).passed


def test_the_gradient_that_is_wrong_is_the_one_that_is_blamed() -> None:
    def backward(dout: Any, cache: Any) -> Any:
        dx, dw, db = affine_backward(dout, cache)
        return dx, dw / len(cache[0]), db

    report = check_layer((affine, backward), X, W, B)
    assert verdicts(report) == {"x": "right", "w": "wrong", "b": "right"}
    assert report["w"].factor == "1/len(x)"


def test_a_bias_gradient_of_the_wrong_shape_is_blamed_for_its_shape() -> None:
    def backward(dout: Any, cache: Any) -> Any:
        dx, dw, _ = affine_backward(dout, cache)
        return dx, dw, dout

    report = check_layer((affine, backward), X, W, B)
    assert verdicts(report) == {"x": "right", "w": "right", "b": "wrong"}
    assert "summed over axis 0 it is right" in report["b"].reason


def test_a_missing_gradient_cannot_be_told() -> None:
    report = check_layer((affine, lambda dout, cache: affine_backward(dout, cache)[:2]), X, W, B)
    assert verdicts(report) == {"x": "right", "w": "right", "b": "unknown"}
    assert not report.passed


def test_a_missing_mask_is_wrong() -> None:
    relu = (lambda x: (np.maximum(x, 0), x), lambda dout, x: dout)
    report = check_layer(relu, X)
    assert report["x"].verdict == "wrong"
    assert "entries" in report["x"].reason


def test_a_fault_that_shows_at_one_size_of_the_inputs_only_is_found() -> None:
    def backward(dout: Any, x: Any) -> Any:
        return dout * (1 - np.tanh(np.clip(x, -2.5, 2.5)) ** 2)

    small = 0.1 * X
    assert check_layer((lambda x: (np.tanh(x), x), backward), small, scales=(1.0,)).passed
    report = check_layer((lambda x: (np.tanh(x), x), backward), small, scales=(1.0, 50.0))
    assert report["x"].verdict == "wrong"
    assert report["x"].reason.startswith("with inputs 50 times as large, ")


def test_several_outputs_have_several_upstream_gradients() -> None:
    def forward(x: Any, h: Any, w: Any) -> Any:
        state = np.tanh(x @ w + h)
        return state, np.sin(state), (x, w, state)

    def backward(dstate: Any, dout: Any, cache: Any) -> Any:
        x, w, state = cache
        d = (dstate + dout * np.cos(state)) * (1 - state**2)
        return d @ w.T, d, x.T @ d

    assert check_layer((forward, backward), X, RNG.standard_normal((7, 4)), W).passed


def test_what_is_no_array_of_floats_is_handed_on() -> None:
    def forward(x: Any, rows: Any, settings: Any, *, power: int) -> Any:
        settings["calls"] = settings.get("calls", 0) + 1
        return x[rows] ** power, (x, rows, power)

    def backward(dout: Any, cache: Any) -> Any:
        x, rows, power = cache
        dx = np.zeros_like(x)
        np.add.at(dx, rows, dout * power * x[rows] ** (power - 1))
        return dx, None

    given: dict[str, int] = {}
    assert check_layer((forward, backward), X, np.array([0, 0, 3]), given, power=3).passed
    assert given == {}


@pytest.mark.parametrize(
    "backward",
    [lambda dout, z: dout / np.cosh(z) ** 2, lambda z, dout: dout / np.cosh(z) ** 2, lambda z: 1 / np.cosh(z) ** 2,
     lambda a: 1 - a**2],
)  # fmt: skip
def test_a_backward_pass_without_cache_is_called_as_it_wants_to_be(backward: Any) -> None:
    assert check_layer((np.tanh, backward), X).passed


def test_a_wrong_backward_pass_is_right_in_no_way_of_calling_it() -> None:
    assert not check_layer((np.tanh, lambda dout, z: dout * (1 - z)), X).passed


def test_dropout_from_the_global_generator_is_frozen_and_other_randomness_is_reported() -> None:
    def dropout(x: Any) -> Any:
        mask = np.random.random(x.shape) < 0.5
        return x * mask, mask

    assert check_layer((dropout, lambda dout, mask: dout * mask), X).passed
    assert not check_layer((dropout, lambda dout, mask: dout), X).passed
    generator = np.random.default_rng(0)
    report = check_layer((lambda x: (x * generator.random(), 1), lambda dout, cache: dout), X)
    assert report["x"].kind == "random"


def test_a_cache_that_later_calls_overwrite_is_found() -> None:
    shared = np.zeros_like(X)

    def forward(x: Any) -> Any:
        shared[...] = x
        return x**2, shared

    report = check_layer((forward, lambda dout, cache: 2 * dout * cache), X)
    assert verdicts(report) == {"x": "right", "cache": "wrong"}


def test_batch_normalisation_is_right() -> None:
    def forward(x: Any, gamma: Any, beta: Any) -> Any:
        centred = x - x.mean(axis=0)
        deviation = np.sqrt(x.var(axis=0) + 1e-5)
        return gamma * centred / deviation + beta, (centred / deviation, deviation, gamma)

    def backward(dout: Any, cache: Any) -> Any:
        normal, deviation, gamma = cache
        n = len(normal)
        inner = n * dout - dout.sum(axis=0) - normal * (dout * normal).sum(axis=0)
        return gamma / deviation / n * inner, (dout * normal).sum(axis=0), dout.sum(axis=0)

    assert check_layer((forward, backward), X, np.ones(5), np.zeros(5)).check().passed


# -- objects ---------------------------------------------------------------------------------------------


class Dense:
    """Attributes have names that say nothing."""

    def __init__(self) -> None:
        self.foo, self.bar = W.copy(), np.zeros(4)
        self.settings = {"rate": 0.1}

    def forward(self, x: Any) -> Any:
        self.kept = x
        return x @ self.foo + self.bar

    def backward(self, dout: Any) -> Any:
        self.qux, self.baz = dout.sum(axis=0), self.kept.T @ dout
        return dout @ self.foo.T


def test_parameters_and_their_gradients_are_found_by_running() -> None:
    layer = Dense()
    report = check_layer(layer, X)
    assert verdicts(report) == {"x": "right", "foo": "right", "bar": "right"}
    assert report["foo"].reason.startswith("baz: ")
    assert report["bar"].reason.startswith("qux: ")
    assert set(vars(layer)) == {"foo", "bar", "settings"}


def test_a_wrong_gradient_of_an_object_is_blamed() -> None:
    class Wrong(Dense):
        def backward(self, dout: Any) -> Any:
            dx = super().backward(dout)
            self.baz = self.baz / len(dout)
            return dx

    report = check_layer(Wrong(), X)
    assert verdicts(report) == {"x": "right", "foo": "wrong", "bar": "right"}
    assert report["foo"].factor == "1/len(x)"


def test_gradients_that_add_up_are_right_by_what_is_added() -> None:
    class Adding(Dense):
        def __init__(self) -> None:
            super().__init__()
            self.total = np.ones((5, 4))

        def backward(self, dout: Any) -> Any:
            self.total += self.kept.T @ dout
            self.qux = dout.sum(axis=0)
            return dout @ self.foo.T

    report = check_layer(Adding(), X)
    assert report.check().passed
    assert report["foo"].reason.startswith("what is added to total")


def test_parameters_in_dicts_of_inner_objects_are_found() -> None:
    class Outer:
        def __init__(self) -> None:
            self.inner = [Dense(), {"scale": np.array([2.0, 3.0, 4.0, 5.0])}]

        def forward(self, x: Any) -> Any:
            self.middle = self.inner[0].forward(x)
            return self.middle * self.inner[1]["scale"]

        def backward(self, dout: Any) -> Any:
            self.grads = {"scale": (dout * self.middle).sum(axis=0)}
            return self.inner[0].backward(dout * self.inner[1]["scale"])

    report = check_layer(Outer(), X)
    assert set(verdicts(report)) == {"x", "inner[0].foo", "inner[0].bar", "inner[1]['scale']"}
    assert report.passed


def test_a_step_inside_the_backward_pass_is_judged_as_gradient() -> None:
    class Stepping(Dense):
        def backward(self, dout: Any, rate: float) -> Any:
            dx = dout @ self.foo.T
            self.foo -= rate * self.kept.T @ dout
            self.bar -= rate * dout.sum(axis=0)
            return dx

    class Late(Stepping):
        def backward(self, dout: Any, rate: float) -> Any:
            super().backward(dout, rate)
            return dout @ self.foo.T

    assert check_layer(Stepping(), X).check().passed
    assert verdicts(check_layer(Late(), X)) == {"x": "wrong", "foo": "right", "bar": "right"}


def test_a_loss_object_without_upstream_gradient_is_right() -> None:
    class CrossEntropy:
        def forward(self, z: Any, y: Any) -> Any:
            e = np.exp(z - z.max(axis=1, keepdims=True))
            self.p, self.y = e / e.sum(axis=1, keepdims=True), y
            return -np.log(self.p[np.arange(len(y)), y]).mean()

        def backward(self) -> Any:
            d = self.p.copy()
            d[np.arange(len(d)), self.y] -= 1
            return d / len(d)

    assert check_layer(CrossEntropy(), X, np.array([0, 1, 2, 3, 4, 0, 1])).check().passed


def test_methods_of_other_names_are_a_pair() -> None:
    class Odd(Dense):
        def go(self, x: Any) -> Any:
            return self.forward(x)

        def back(self, dout: Any) -> Any:
            return self.backward(dout)

    layer = Odd()
    assert verdicts(check_layer((layer.go, layer.back), X)) == {"x": "right", "foo": "right", "bar": "right"}


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (Dense, "Dense is a class: pass one of its objects"),
        (object(), "object has no method forward"),
        ((np.tanh,), "a layer is a pair"),
        ((np.tanh, lambda a, b, c, d: a), "gives no gradients: TypeError"),
        ((lambda x: "text", lambda dout: dout), "returns no array of floats"),
    ],
)
def test_misuse_gets_a_sentence(layer: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_layer(layer, X)
