"""The pytest plugin: programs as test files, fixtures for tests; nothing heavy is loaded until it is needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

    from backprop_doctor.checks import Check, Checkup
    from backprop_doctor.gradient_report import GradientReport

COLLECTOR = "backprop"
TIME_LIMIT_SECONDS = 60.0
LINES_OF_REMARKS = 40


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
    given: list[str] = config.getoption("--backprop")
    standing = [str(path) for path in config.getini("backprop_paths")]
    addressed = [path for path, _, rest in (a.partition("::") for a in config.args) if rest.split("::")[0] == COLLECTOR]
    if not (given or standing or addressed):
        return
    invoked = config.invocation_params.dir
    named = _programs([str(invoked / path) for path in given])
    explicit = config.args_source == pytest.Config.ArgsSource.ARGS
    if given:
        # What is named is what is run, with what else was named.
        config.args[:] = [*(config.args if explicit else []), *named]
    elif not explicit and not addressed:
        config.args += _programs(standing)
    everything = {*named, *_programs(standing), *(os.path.realpath(invoked / path) for path in addressed)}
    config.args[:] = list(dict.fromkeys(config.args))
    config.pluginmanager.register(_Programs(everything), "backprop-programs")


def _programs(paths: list[str]) -> list[str]:
    if not paths:
        return []
    from backprop_doctor.checking import programs
    from backprop_doctor.errors import DoctorError

    try:
        return [os.path.realpath(path) for path in programs(paths)]
    except DoctorError as error:
        raise pytest.UsageError(f"backprop-doctor: {error}") from error


class _Programs:
    """Collects the programs, and keeps them from being imported as tests."""

    def __init__(self, paths: set[str]) -> None:
        self.paths = paths

    @pytest.hookimpl(hookwrapper=True)
    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> Iterator[None]:
        """A program is run in a process of its own; a test module that is one too stays a test module."""
        outcome: Any = yield
        if os.path.realpath(file_path) not in self.paths:
            return
        patterns = parent.config.getini("python_files")
        is_test = any(fnmatch(file_path.name, pattern) for pattern in patterns)
        collected = [c for c in outcome.get_result() if is_test or not isinstance(c, pytest.Module)]
        outcome.force_result([*collected, ProgramFile.from_parent(parent, path=file_path)])


class ProgramFile(pytest.File):
    """A program."""

    def collect(self) -> Iterator[pytest.Collector]:
        """One collector, so that a program's checks are told from tests in the same file."""
        yield ProgramChecks.from_parent(self, name=COLLECTOR)


class ProgramChecks(pytest.Collector):
    """The checks of one program, which is run once for all of them."""

    def collect(self) -> Iterator[pytest.Item]:
        """Run the program and name its checks."""
        from backprop_doctor.errors import DoctorError

        option = self.config.option
        try:
            checkup = _checkup(self.config, self.path, call=option.backprop_call)
        except DoctorError as error:
            raise self.CollectError(str(error)) from error
        for check in checkup.checks:
            yield CheckItem.from_parent(self, name=check.name.replace("::", ":"), checkup=checkup, check=check)


class CheckItem(pytest.Item):
    """One check of a program: fails with findings, is skipped where it cannot be told."""

    def __init__(self, *, checkup: Checkup, check: Check, **names: Any) -> None:
        super().__init__(**names)
        self.checkup, self.check = checkup, check
        self.add_marker(pytest.mark.backprop)
        self.user_properties += check.properties

    def runtest(self) -> None:
        """Say what was found when the program was collected."""
        if self.check.remarks and self.check.verdict == "right":
            said = [f"{f.severity}: line {f.position.line}: {f.message}" for f in self.check.remarks]
            self.add_report_section("call", "backprop-doctor", "\n".join(said[:LINES_OF_REMARKS]))
        if self.check.verdict == "unknown":
            raise pytest.skip.Exception(f"cannot tell: {self.check.reason}", _use_item_location=True)
        if self.check.verdict == "wrong":
            raise CheckFailed(self.checkup.explain(self.check))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any, **options: Any) -> Any:
        """The findings, without a traceback through this plugin."""
        if isinstance(excinfo.value, CheckFailed):
            again = f'pytest "{self.nodeid}"'
            if self.checkup.seed:
                again += f" --backprop-seed {self.checkup.seed}"
            return f"{excinfo.value}\n\nagain  {again}"
        return super().repr_failure(excinfo, *args, **options)

    def reportinfo(self) -> tuple[Path, int, str]:
        """The program, and the line of the first finding."""
        line = self.check.findings[0].position.line - 1 if self.check.findings else 0
        return self.path, line, f"{self.path.name}: {self.name}"


class CheckFailed(Exception):
    """A check of a program that is wrong."""


_reports: pytest.StashKey[dict[Any, Any]] = pytest.StashKey()


def _checkup(
    config: pytest.Config, path: Path, *, call: str | None = None, seed: int | None = None, **wishes: Any
) -> Checkup:
    """Check a program, once in a test session for the same wishes."""
    from backprop_doctor import checking, rules
    from backprop_doctor.checks import Checkup, checks

    seed = config.getoption("--backprop-seed") if seed is None else seed
    for wish in ("select", "ignore"):
        if wish in wishes:
            wishes[wish] = rules.resolve(wishes[wish])
    wishes.setdefault("time_limit_seconds", config.getoption("--backprop-time-limit"))
    options = checking.Options(call=call, seed=seed, **wishes)
    known = config.stash.setdefault(_reports, {})
    key = (os.path.realpath(path), options)
    if key not in known:
        (name,) = checking.programs([_short(path, config.invocation_params.dir)])
        known[key] = checking.check_file(name, options)
    return Checkup(known[key], checks(known[key], strict=config.getoption("--backprop-strict")), seed, call)


def _short(path: Path, folder: Path) -> str:
    """The path as it would be typed."""
    try:
        return str(path.relative_to(folder)) if Path.cwd() == folder else str(path)
    except ValueError:
        return str(path)


@pytest.fixture
def backprop_doctor(request: pytest.FixtureRequest) -> Callable[..., Checkup]:
    """Check a program: ``backprop_doctor("mynet.py").check("gradient of *")``.

    A path, taken from the folder of the test or of the run, or a module; by default what the marker names:
    ``@pytest.mark.backprop("mynet.py")``.  A program is run once in a session.
    """
    marker = request.node.get_closest_marker("backprop")

    def check(program: str | os.PathLike[str] | ModuleType | None = None, **options: Any) -> Checkup:
        if marker is not None:
            options = {**marker.kwargs, **options}
            program = program if program is not None or not marker.args else marker.args[0]
        if program is None:
            raise pytest.UsageError("name the program: backprop_doctor(path), or @pytest.mark.backprop(path)")
        path = Path(getattr(program, "__file__", None) or program)
        places = [request.path.parent / path, request.config.rootpath / path, path]
        path = next((place for place in places if place.exists()), path)
        checkup = _checkup(request.config, path, **options)
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
