"""The pytest plugin: programs as test files, fixtures for tests; nothing heavy is loaded until it is needed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

    from backprop_doctor.checks import Checkup
    from backprop_doctor.gradient_report import GradientReport

COLLECTOR = "backprop"
TIME_LIMIT_SECONDS = 60.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options and the setting ``backprop_paths``."""
    group = parser.getgroup("backprop", "hand-written networks (backprop-doctor)")
    group.addoption("--backprop", action="append", default=[], metavar="PATH",
                    help="check this program, or the programs in this folder; may be repeated")  # fmt: skip
    group.addoption("--backprop-seed", type=int, default=0, metavar="NUMBER",
                    help="start of all randomness in checks of programs, gradients and layers (0)")  # fmt: skip
    group.addoption("--backprop-call", default=None, metavar="CODE",
                    help="code to run at the end of programs that only define things")  # fmt: skip
    group.addoption("--backprop-time-limit", type=float, default=TIME_LIMIT_SECONDS, metavar="SECONDS",
                    help="wall time for one program (60)")  # fmt: skip
    group.addoption("--backprop-strict", action="store_true", help="warnings fail too")
    parser.addini("backprop_paths", "programs that are checked with the tests", type="paths", default=[])


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; collect programs only if some were named."""
    config.addinivalue_line(
        "markers",
        "backprop(path, call=None, seed=0, ...): the program that the fixture backprop_doctor is about; "
        "on every check of a program",
    )
    addressed = any(address.split("::")[1:2] == [COLLECTOR] for address in config.args)
    if addressed or config.getoption("--backprop") or config.getini("backprop_paths"):
        from backprop_doctor import pytest_programs

        pytest_programs.collect_programs(config)


@pytest.fixture
def backprop_doctor(request: pytest.FixtureRequest) -> Callable[..., Checkup]:
    """Check a program: ``backprop_doctor("mynet.py").check("gradient of *")``.

    A path, taken from the folder of the test or of the run, or a module; by default what the marker names:
    ``@pytest.mark.backprop("mynet.py")``.  A program is run once in a session.
    """
    marker = request.node.get_closest_marker("backprop")

    def check(program: str | os.PathLike[str] | ModuleType | None = None, **options: Any) -> Checkup:
        from backprop_doctor.pytest_programs import checked

        if marker is not None:
            options = {**marker.kwargs, **options}
            program = program if program is not None or not marker.args else marker.args[0]
        if program is None:
            raise pytest.UsageError("name the program: backprop_doctor(path), or @pytest.mark.backprop(path)")
        path = Path(getattr(program, "__file__", None) or program)
        places = [request.path.parent / path, request.config.rootpath / path, path]
        path = next((place for place in places if place.exists()), path)
        checkup = checked(request.config, path, **options)
        request.node.user_properties.append(("seconds", f"{checkup.file.seconds:.2f}"))
        return checkup

    return check


@pytest.fixture
def gradcheck(request: pytest.FixtureRequest) -> Callable[..., GradientReport]:
    """`backprop_doctor.gradcheck`, failing the test by itself if a gradient is not right."""

    def check(loss: Any, params: Any, grads: Any = None, **options: Any) -> GradientReport:
        __tracebackhide__ = True
        from backprop_doctor.gradient_check import gradcheck

        return _told(request, gradcheck(loss, params, grads, **_seeded(request, options)))

    return check


@pytest.fixture
def check_layer(request: pytest.FixtureRequest) -> Callable[..., GradientReport]:
    """`backprop_doctor.check_layer`, failing the test by itself if a gradient is not right."""

    def check(layer: Any, *inputs: Any, **options: Any) -> GradientReport:
        __tracebackhide__ = True
        from backprop_doctor.layer_check import check_layer

        return _told(request, check_layer(layer, *inputs, **_seeded(request, options)))

    return check


def _seeded(request: pytest.FixtureRequest, options: dict[str, Any]) -> dict[str, Any]:
    return {"seed": request.config.getoption("--backprop-seed"), **options}


def _told(request: pytest.FixtureRequest, report: GradientReport) -> GradientReport:
    """Write factors and errors of what is not right into the properties of the test; then judge."""
    __tracebackhide__ = True
    for verdict in report.verdicts:
        if verdict.factor is not None:
            request.node.user_properties.append((f"factor of {verdict.name}", verdict.factor))
        if verdict.verdict != "right" and verdict.relative_error is not None:
            request.node.user_properties.append((f"relative error of {verdict.name}", f"{verdict.relative_error:.1e}"))
    return report.check()
