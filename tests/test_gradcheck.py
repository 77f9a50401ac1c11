"""Gradients of functions of arrays: wrong ones are caught at every scale, right ones pass, nothing is disturbed."""

from __future__ import annotations

import dataclasses
import json
import random
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wrong_gradients import DTYPES, SCALES, WRONG, Network, Parameters

from backprop_doctor import UsageError, gradcheck
from backprop_doctor.slopes import Function, Numeric

RIGHT_SEEDS = range(27)


def squares(x: Any) -> Any:
    return np.sum(x**2)


# -- verdicts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_gradient_is_wrong_at_every_scale_of_the_loss(name: str, dtype: str) -> None:
    for scale in SCALES:
        network = Network(0, scale, dtype)
        report = gradcheck(
            lambda p, n=network: n.loss(p)[0], network.parameters, WRONG[name](network, network.parameters)
        )
        assert not report.passed
        blamed = {v.name for v in report.verdicts if v.verdict == "wrong"}
        assert blamed == ({"W1", "b1"} if name == "mask missing" else {"W1"} if name == "stale cache" else {"W2"})


def test_right_gradients_pass_from_every_seed() -> None:
    for seed in RIGHT_SEEDS:
        network = Network(seed, SCALES[seed % len(SCALES)], DTYPES[seed % len(DTYPES)])
        assert gradcheck(network.loss, network.parameters).check().passed
        given = network.loss(network.parameters)[1]
        assert gradcheck(lambda p, n=network: n.loss(p)[0], network.parameters, given).check().passed


@pytest.mark.parametrize(
    ("wrong", "kind", "said"),
    [
        (lambda g: -g, "sign", "it is -1 times the derivative"),
        (lambda g: g / 97, "factor", "it is 1/len(X) times the derivative"),
        (lambda g: g * 97 / 20, "factor", "it is len(X)/X.shape[1] times the derivative"),
        (lambda g: g * 1.001, "factor", "it is 1.001 times the derivative"),
        (lambda g: g * 0, "zero", "it is zero"),
        (lambda g: g.T, "shape", "transposed it is right"),
        (lambda g: g.ravel(), "shape", "reshaped it is right"),
        (lambda g: g.sum(axis=0), "shape", "it is the derivative summed over axis 0"),
        (lambda g: g[..., None] * np.ones(2) / 2, "shape", "summed over axis 2 it is right"),
        (lambda g: g + np.nan, "not finite", "60 of 60 entries are not finite"),
        (lambda g: g + np.eye(20, 3)[::-1] * 0.1, "entries", "wrong at 3 of 60 entries: (17, 2), (18, 1), (19, 0)"),
    ],
)
def test_what_is_wrong_is_said(wrong: Callable[[Any], Any], kind: str, said: str) -> None:
    generator = np.random.default_rng(0)
    X, W = generator.standard_normal((97, 20)), generator.standard_normal((20, 3))

    def loss(W: Any) -> Any:
        return np.sum(np.tanh(X @ W) ** 2)

    grad = X.T @ (2 * np.tanh(X @ W) * (1 - np.tanh(X @ W) ** 2))
    assert gradcheck(loss, W, grad).passed
    verdict = gradcheck(loss, W, wrong(grad))["W"]
    assert (verdict.verdict, verdict.kind) == ("wrong", kind)
    assert said in verdict.reason


def test_a_transposed_gradient_of_a_square_matrix_is_recognised() -> None:
    W = np.random.default_rng(0).standard_normal((9, 9))
    R = np.random.default_rng(1).standard_normal((9, 9))
    verdict = gradcheck(lambda W: np.sum(R * W**2), W, (2 * R * W).T)["W"]
    assert verdict.reason.startswith("it is the transpose of the derivative")


def test_one_wrong_entry_among_thousands_is_found_and_named() -> None:
    x = np.random.default_rng(0).standard_normal((100, 50))
    grad = 2 * x
    grad[37, 21] *= 1.5
    verdict = gradcheck(squares, x, grad)["x"]
    assert verdict.reason == "wrong at 1 of 5000 entries: (37, 21); the others agree"
    assert verdict.worst is not None
    assert verdict.worst.index == (37, 21)
    assert verdict.worst.numeric == pytest.approx(2 * x[37, 21], rel=1e-6)


def test_an_entry_that_is_missing_where_the_gradient_is_small_is_found() -> None:
    x = np.ones(400)
    x[7] = 1e-3
    grad = 2 * x
    grad[7] = 0.0
    assert gradcheck(squares, x, grad)["x"].verdict == "wrong"


@settings(deadline=None, max_examples=25, derandomize=True)
@given(seed=st.integers(0, 10_000), exponent=st.integers(-12, 12), factor=st.sampled_from([1.0, 1.001, 0.5, -1.0]))
def test_the_verdict_does_not_depend_on_the_scale(seed: int, exponent: int, factor: float) -> None:
    x = np.random.default_rng(seed).standard_normal(5)
    scale = 10.0**exponent
    report = gradcheck(lambda x: scale * np.sum(np.sin(x)), x, factor * scale * np.cos(x))
    assert report.passed == (factor == 1.0)


def test_slopes_agree_with_the_complex_step() -> None:
    def value(x: Any) -> Any:
        return (np.exp(x) / (1 + x**2)).sum()

    point = np.array([0.3, -1.2, 2.5])
    numeric = Numeric(Function(lambda arguments: float(value(arguments[0]))), [point])
    for entry in range(3):
        moved = point.astype(complex)
        moved[entry] += 1e-30j
        exact = value(moved).imag / 1e-30
        slope = numeric.coordinate(0, entry)
        assert abs(slope.value - exact) <= slope.error < 1e-8 * abs(exact)


# -- what cannot be told ---------------------------------------------------------------------------------


def test_a_kink_is_reported_as_such() -> None:
    x = np.array([0.0, 1.0, -1.0])
    report = gradcheck(lambda x: np.sum(np.maximum(x, 0)), x, np.array([0.0, 1.0, 0.0]))
    assert report.passed
    assert report["x"].kinks == 1
    assert "1 of 3 slopes are at a kink" in report["x"].reason
    outside = gradcheck(lambda x: np.sum(np.maximum(x, 0)), x, np.array([7.0, 1.0, 0.0]))
    assert outside["x"].verdict == "wrong"


def test_where_all_is_kinks_nothing_is_told_unless_the_gradient_can_be_computed_elsewhere() -> None:
    x = np.zeros(3)
    given = gradcheck(lambda x: np.sum(np.abs(x)), x, np.zeros(3))
    assert (given["x"].verdict, given["x"].kind, given.passed) == ("unknown", "kink", False)
    computed = gradcheck(lambda x: np.sum(np.abs(x)), x, np.sign)
    assert computed.passed
    assert "kink" in computed.remarks[0]
    assert not gradcheck(lambda x: np.sum(np.abs(x)), x, lambda x: 2 * np.sign(x)).passed


def test_a_kink_close_by_does_not_spoil_the_slope() -> None:
    x = np.array([1e-6, -1e-8, 0.5])
    assert gradcheck(lambda x: np.sum(np.maximum(x, 0)), x, np.array([1.0, 0.0, 1.0])).passed


def test_noise_that_hides_the_answer_is_no_pass() -> None:
    x = np.array([0.5, 1.5])
    report = gradcheck(lambda x: 1e14 + np.sum(np.sin(x)), x, np.cos(x))
    assert (report["x"].verdict, report["x"].kind, report.passed) == ("unknown", "noise", False)
    # A gradient far above the noise is wrong all the same.
    assert gradcheck(lambda x: 1e6 + np.sum(np.sin(x)), x, 2 * np.cos(x))["x"].verdict == "wrong"


def test_a_function_that_rounds_to_float32_inside_is_no_false_alarm() -> None:
    x = np.random.default_rng(0).standard_normal(6)
    report = gradcheck(lambda x: np.sum(np.sin(x.astype(np.float32))), x, np.cos(x))
    assert report["x"].verdict != "wrong"
    assert gradcheck(lambda x: np.sum(np.sin(x.astype(np.float32))), x, 2 * np.cos(x))["x"].verdict == "wrong"


def test_a_loss_that_is_random_is_reported_as_random() -> None:
    generator = np.random.default_rng(0)
    x = np.ones(3)
    report = gradcheck(lambda x: np.sum(x) * generator.random(), x, np.ones(3))
    assert report["x"].kind == "random"
    assert "two undisturbed runs differ" in report["x"].reason


def test_numbers_from_the_global_generator_are_drawn_again_and_the_generator_is_as_before() -> None:
    def loss(x: Any) -> Any:
        mask = np.random.random(x.shape) < 0.5
        return np.sum(x**2 * mask), 2 * x * mask

    x = np.arange(1.0, 9.0)
    before, python = np.random.get_state()[1].copy(), random.getstate()
    report = gradcheck(loss, x)
    assert report.passed
    assert "global generator" in report.remarks[0]
    assert np.array_equal(before, np.random.get_state()[1])
    assert python == random.getstate()
    given = gradcheck(lambda x: loss(x)[0], x, loss(x)[1])
    assert given["x"].kind == "random"
    assert "hand over a function" in given["x"].reason


def test_a_loss_that_is_not_finite_is_not_judged() -> None:
    report = gradcheck(lambda x: np.sum(x) + np.inf, np.ones(2), np.ones(2))
    assert report["x"].reason == "the loss is inf here"


def test_a_parameter_without_a_gradient_is_no_pass() -> None:
    p = {"W": np.ones(3), "b": np.ones(2)}
    report = gradcheck(lambda p: np.sum(p["W"]) + np.sum(p["b"]), p, {"W": np.ones(3)})
    assert (report["W"].verdict, report["b"].verdict, report["b"].kind) == ("right", "unknown", "missing")
    assert not report


def test_a_parameter_without_effect_beside_others_is_no_obstacle() -> None:
    # A bias in front of a normalisation: its derivative is zero but for rounding.
    generator = np.random.default_rng(0)
    X, p = generator.standard_normal((30, 4)), {"W": generator.standard_normal((4, 2)), "b": np.ones(2)}

    def loss(p: Any) -> Any:
        Z = X @ p["W"] + p["b"]
        return np.sum((Z - Z.mean(axis=0)) ** 3)

    def grads(p: Any) -> Any:
        Z = X @ p["W"] + p["b"]
        d = 3 * (Z - Z.mean(axis=0)) ** 2
        d = d - d.mean(axis=0)
        return {"W": X.T @ d, "b": d.sum(axis=0)}

    assert gradcheck(loss, p, grads).check().passed


# -- kinds of parameters ---------------------------------------------------------------------------------


def test_dicts_lists_and_tuples_nest() -> None:
    p = {"layers": [{"W": np.ones((2, 2)), "b": 0.5}, (np.arange(3.0), np.full(2, 2.0))], "name": "net", "count": 3}

    def loss(p: Any) -> Any:
        first, (second, third) = p["layers"]
        return np.sum(first["W"] ** 2) * first["b"] + np.sum(second**3) + np.sum(np.sin(third))

    grads = {
        "layers": [{"W": np.ones((2, 2)), "b": 4.0}, (3 * np.arange(3.0) ** 2, np.cos(np.full(2, 2.0)))],
        "count": None,
    }
    report = gradcheck(loss, p, grads)
    names = [verdict.name for verdict in report.verdicts if verdict.verdict == "right"]
    assert names == ["layers[0].W", "layers[0].b", "layers[1][0]", "layers[1][1]"] or report.passed
    assert {v.name for v in report.verdicts if v.verdict == "wrong"} == set()


def test_labels_sizes_and_settings_among_the_parameters_stay_as_they_are() -> None:
    p = {"W": np.random.default_rng(0).standard_normal((3, 2)), "rows": np.array([0, 2]), "count": 2, "rate": 0.5}
    report = gradcheck(lambda p: np.sum(p["W"][p["rows"]] ** 2) * len(range(p["count"])) * p["rate"], p,
                       lambda p: {"W": 2 * p["W"] * np.array([[1], [0], [1]])})  # fmt: skip
    assert [verdict.name for verdict in report.check().verdicts] == ["W"]


def test_a_model_that_keeps_its_parameters_is_checked_in_three_lines() -> None:
    class Model:
        def __init__(self) -> None:
            self.params = {"W": np.random.default_rng(0).standard_normal((4, 3)), "b": np.zeros(3)}

        def loss(self, X: Any, y: Any) -> tuple[float, Parameters]:
            Z = X @ self.params["W"] + self.params["b"]
            E = np.exp(Z - Z.max(axis=1, keepdims=True))
            P = E / E.sum(axis=1, keepdims=True)
            d = P.copy()
            d[np.arange(len(y)), y] -= 1
            return -np.log(P[np.arange(len(y)), y]).mean(), {"W": X.T @ d / len(y), "b": d.sum(axis=0) / len(y)}

    X, y = np.random.default_rng(1).standard_normal((5, 4)), np.array([0, 1, 2, 1, 0])
    model = Model()
    assert gradcheck(lambda: model.loss(X, y), model.params)
    assert gradcheck(lambda p: model.loss(X, y), model.params)
    grads = model.loss(X, y)[1]
    grads["b"] *= len(y)
    report = gradcheck(lambda: model.loss(X, y)[0], model.params, grads)
    assert report["b"].factor == "len(X)"


def test_keys_that_contain_the_name_of_the_parameter_are_its_gradients() -> None:
    p = {"W1": np.ones(2), "W10": np.full(3, 2.0)}
    grads = {"dW10": np.full(3, 4.0), "dW1": np.full(2, 2.0), "dZ1": np.ones(7)}
    report = gradcheck(lambda p: np.sum(p["W1"] ** 2) + np.sum(p["W10"] ** 2), p, grads)
    assert report.passed


def test_arrays_that_are_read_under_another_name_are_changed_in_place() -> None:
    W = np.random.default_rng(0).standard_normal(4)
    before = W.copy()
    assert gradcheck(lambda: np.sum(W**3), W, 3 * W**2).passed
    assert not gradcheck(lambda: np.sum(W**3), {"W": W}, {"W": 2 * W**2}).passed
    assert np.array_equal(W, before)
    single = W.astype(np.float32)
    report = gradcheck(lambda: float(np.sum(single**3)), single, 3 * single**2)
    assert report["params"].verdict != "wrong"
    assert "float32" in report.remarks[0]
    assert gradcheck(lambda: float(np.sum(single**3)), single, 6 * single**2)["params"].verdict == "wrong"


def test_lists_of_numbers_are_arrays_for_programs_without_numpy() -> None:
    weights = [[0.5, -1.0], [2.0, 0.25]]
    same = weights[0]

    def loss() -> float:
        return sum(w * w for row in weights for w in row)

    assert gradcheck(loss, weights, [[2 * w for w in row] for row in weights]).passed
    assert weights == [[0.5, -1.0], [2.0, 0.25]]
    assert weights[0] is same


def test_parameters_are_as_before_bit_for_bit_even_if_the_loss_changes_them() -> None:
    p = {"W": np.random.default_rng(0).standard_normal((3, 3)).astype(np.float32), "n": [np.arange(3), np.array(2.0)]}
    objects = {"W": p["W"], "n": p["n"], "first": p["n"][0]}
    contents = p["W"].tobytes(), p["n"][0].tobytes()

    def loss(q: Any) -> Any:
        result = np.sum(q["W"] ** 2) + np.sum(q["n"][0]) + q["n"][1]
        q["W"] += 1.0
        p["W"] = q["W"]
        objects["W"] *= 1.5
        return result

    gradcheck(loss, p, {"W": 2 * p["W"], "n": [np.ones(3), np.array(1.0)]})
    assert p["W"] is objects["W"]
    assert p["n"] is objects["n"]
    assert p["n"][0] is objects["first"]
    assert (p["W"].tobytes(), p["n"][0].tobytes()) == contents


def test_parameters_are_as_before_when_the_loss_fails() -> None:
    p, calls = {"W": np.ones(3)}, [0]
    original = p["W"]

    def loss(p: Any) -> Any:
        calls[0] += 1
        if calls[0] > 20:
            raise ZeroDivisionError("at last")
        return np.sum(p["W"])

    with pytest.raises(ZeroDivisionError, match="at last"):
        gradcheck(loss, p, {"W": np.ones(3)})
    assert p["W"] is original
    assert np.array_equal(original, np.ones(3))


def test_whole_numbers_are_promoted_and_it_is_said() -> None:
    x = np.array([1, 2, 3])
    report = gradcheck(squares, x, 2 * x)
    assert report.passed
    assert report.remarks == ("x is int64: checked as float64, for whole numbers have no small changes",)


def test_float32_parameters_are_promoted() -> None:
    x = np.random.default_rng(0).standard_normal(5).astype(np.float32)
    seen = []
    report = gradcheck(lambda x: seen.append(x.dtype) or 1e-8 * np.sum(x**2), x, lambda x: 2e-8 * x)
    assert report.passed
    assert set(map(str, seen)) == {"float64"}
    assert report["x"].relative_error is not None
    assert report["x"].relative_error < 1e-9


@pytest.mark.parametrize(
    ("loss", "params", "grads", "said"),
    [
        (squares, np.ones(2) + 1j, np.ones(2), "x is complex128: only real parameters"),
        (squares, np.ones(2), np.ones(2) * 1j, "the gradient of x is complex128"),
        (lambda x: np.sum(x) * 1j, np.ones(2), np.ones(2), "the loss is complex128"),
        (lambda x: x**2, np.ones(2), np.ones(2), r"the loss has shape \(2,\), not one number"),
        (lambda x: "text", np.ones(2), np.ones(2), "the loss is a str, not a number"),
        (squares, "text", np.ones(2), "x is a str; accepted are arrays"),
        (squares, {}, {}, "there are no parameters"),
        (squares, np.ones(2), None, "there are no gradients: pass grads"),
        (squares, np.array(["a"], dtype=object), np.ones(1), "holds objects that are no numbers"),
    ],
)
def test_misuse_gets_a_sentence(loss: Any, params: Any, grads: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        gradcheck(loss, params, grads)


def test_anything_with_an_array_inside_is_a_parameter() -> None:
    class Wrapped:
        def __init__(self, values: Any) -> None:
            self.values = values

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return np.array(self.values, dtype=dtype)

    assert gradcheck(squares, Wrapped([1.0, 2.0]), Wrapped([2.0, 4.0])).passed


def test_torch_is_used_where_it_is_and_never_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in with the few names that are used; the real one is compared with in the benchmarks."""

    class Tensor:
        def __init__(self, values: Any) -> None:
            self.values, self.device, self.requires_grad, self.dtype = values, "cpu", True, values.dtype

        def detach(self) -> Tensor:
            return self

        cpu = detach

        def to(self, device: str) -> Tensor:
            return self

        def requires_grad_(self, wanted: bool) -> Tensor:
            self.requires_grad = wanted
            return self

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return self.values

    assert "torch" not in sys.modules
    torch = ModuleType("torch")
    for name, value in {"Tensor": Tensor, "from_numpy": Tensor, "bfloat16": "bfloat16", "get_rng_state": lambda: 0,
                        "set_rng_state": lambda state: None}.items():  # fmt: skip
        setattr(torch, name, value)
    monkeypatch.setitem(sys.modules, "torch", torch)
    x = Tensor(np.arange(3.0, dtype=np.float32))
    kinds = set()

    def loss(x: Any) -> Any:
        kinds.add((type(x), str(x.values.dtype)))
        return Tensor(np.array(np.sum(x.values**2)))

    assert gradcheck(loss, x, Tensor(2 * x.values)).passed
    assert kinds == {(Tensor, "float64")}


# -- reports ---------------------------------------------------------------------------------------------


def test_a_report_is_frozen_serialises_and_says_the_same_twice() -> None:
    network = Network(0)
    reports = [gradcheck(network.loss, network.parameters, seed=3) for _ in range(2)]
    assert reports[0] == reports[1]
    data = json.loads(json.dumps(reports[0].to_dict(), allow_nan=False))
    assert data["passed"] is True
    assert [v["name"] for v in data["verdicts"]] == list(network.parameters)
    with pytest.raises(dataclasses.FrozenInstanceError):
        reports[0].seed = 4  # type: ignore[misc]


def test_a_failure_tells_shape_factor_worst_entry_limit_steps_and_how_to_repeat_it() -> None:
    x = np.arange(1.0, 4.0)
    with pytest.raises(AssertionError) as caught:
        gradcheck(squares, x, x, seed=5).check()
    first, second, third = str(caught.value).splitlines()[:3]
    assert first == "squares: 1 gradient wrong"
    assert second.startswith("  x  wrong: it is 1/2 times the derivative; the rest agrees to ")
    assert third == "    shape  x is (3,), its gradient (3,) float64"
    for part in (
        "error  0.5 relative; limit 1e-05",
        "worst  [2]: gradient 3, numeric 6",
        "steps  every entry",
        "seed 5",
    ):
        assert part in str(caught.value)


def test_nothing_checked_is_no_pass() -> None:
    report = gradcheck(squares, np.ones(2), 2 * np.ones(2))
    assert not dataclasses.replace(report, verdicts=()).passed
