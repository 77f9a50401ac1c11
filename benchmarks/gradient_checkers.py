"""Wrong gradients that are caught, and right ones that pass: gradcheck beside scipy's and PyTorch's.

Run ``python benchmarks/gradient_checkers.py [SEEDS]``; scipy and PyTorch are compared with where they are
installed.  Each cell counts loss scales from 1 to 1e-8 at which a wrong gradient is not passed.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from wrong_gradients import DTYPES, SCALES, WRONG, Network, Parameters

import backprop_doctor

Claim = Callable[[Network, Parameters], Parameters]
Checker = Callable[[Network, Claim], bool]
SCIPY_LIMIT = 1e-5  # scipy returns one absolute number; this is what it is usually held against


def right(network: Network, parameters: Parameters) -> Parameters:
    return network.loss(parameters)[1]


def ours(network: Network, claim: Claim) -> bool:
    grads = claim(network, network.parameters)
    return backprop_doctor.gradcheck(lambda p: network.loss(p)[0], network.parameters, grads).passed


def scipy_check_grad(network: Network, claim: Claim) -> bool:
    from scipy.optimize import check_grad

    names = list(network.parameters)
    shapes = [network.parameters[name].shape for name in names]
    ends = np.cumsum([np.prod(shape) for shape in shapes])[:-1]

    def packed(p: Parameters) -> Any:
        return np.concatenate([np.ravel(p[name]) for name in names])

    def unpacked(x: Any) -> Parameters:
        parts = np.split(x.astype(network.dtype), ends)
        return {name: part.reshape(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}

    def loss(x: Any) -> float:
        return network.loss(unpacked(x))[0]

    def grad(x: Any) -> Any:
        return packed(claim(network, unpacked(x)))

    return bool(check_grad(loss, grad, packed(network.parameters)) < SCIPY_LIMIT)


def torch_gradcheck(*, fast: bool) -> Checker:
    import torch

    def passes(network: Network, claim: Claim) -> bool:
        names = list(network.parameters)

        class Loss(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *tensors: Any) -> Any:
                ctx.p = {name: tensor.detach().numpy() for name, tensor in zip(names, tensors, strict=True)}
                return torch.tensor(network.loss(ctx.p)[0], dtype=tensors[0].dtype)

            @staticmethod
            def backward(ctx: Any, upstream: Any) -> Any:
                grads = claim(network, ctx.p)
                return tuple(upstream * torch.from_numpy(np.ascontiguousarray(grads[name])) for name in names)

        inputs = [torch.from_numpy(value.copy()).requires_grad_() for value in network.parameters.values()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bool(torch.autograd.gradcheck(Loss.apply, inputs, fast_mode=fast, raise_exception=False))

    return passes


def checkers() -> dict[str, Checker]:
    found: dict[str, Checker] = {"gradcheck": ours}
    try:
        import scipy

        found[f"scipy {scipy.__version__} check_grad < {SCIPY_LIMIT:g}"] = scipy_check_grad
    except ImportError:
        print("scipy is not installed: not compared")
    try:
        import torch

        version = torch.__version__.partition("+")[0]
        found[f"torch {version} gradcheck, fast"] = torch_gradcheck(fast=True)
        found[f"torch {version} gradcheck, slow"] = torch_gradcheck(fast=False)
    except ImportError:
        print("PyTorch is not installed: not compared")
    return found


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    compared = checkers()
    columns = [(name, dtype) for name in compared for dtype in DTYPES]
    print("| gradient | " + " | ".join(f"{name}, {dtype}" for name, dtype in columns) + " |")
    print("|---|" + "---|" * len(columns))
    seconds = dict.fromkeys(compared, 0.0)
    for row, claim in [*WRONG.items(), ("right: passed", right)]:
        cells = []
        for name, dtype in columns:
            started = time.perf_counter()
            passed = sum(compared[name](Network(0, scale, dtype), claim) for scale in SCALES)
            seconds[name] += time.perf_counter() - started
            cells.append(f"{passed if claim is right else len(SCALES) - passed} of {len(SCALES)}")
        print(f"| {row} | " + " | ".join(cells) + " |")
    checks = len(DTYPES) * len(SCALES) * (len(WRONG) + 1)
    print(
        "| ms a check | "
        + " | ".join(f"{1000 * seconds[n] / checks:.0f}" if d == DTYPES[0] else "" for n, d in columns)
        + " |"
    )
    started = time.perf_counter()
    passed = sum(
        ours(Network(seed, SCALES[seed % len(SCALES)], DTYPES[seed % len(DTYPES)]), right) for seed in range(seeds)
    )
    print(f"\nright gradients: {passed} of {seeds} seeds pass, in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
