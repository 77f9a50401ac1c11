"""Programs as test files: which are meant, and an item for each of their checks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from backprop_doctor import checking, rules
from backprop_doctor.checks import Check, Checkup, checks
from backprop_doctor.errors import DoctorError
from backprop_doctor.pytest_plugin import COLLECTOR

__all__ = ["checked", "collect_programs"]

LINES_OF_REMARKS = 40


def collect_programs(config: pytest.Config) -> None:
    """Make the programs that were named, on the command line or in the settings, part of the run.

    Raises
    ------
    pytest.UsageError
        If a path does not exist, with the nearest match.
    """
    invoked = config.invocation_params.dir
    named = _programs([str(invoked / path) for path in config.getoption("--backprop")])
    standing = _programs([str(path) for path in config.getini("backprop_paths")])
    addressed = [path for path, *names in (a.split("::") for a in config.args) if names[:1] == [COLLECTOR]]
    explicit = config.args_source == pytest.Config.ArgsSource.ARGS
    if named:
        # What is named is what is run, with what else was named.
        config.args[:] = [*(config.args if explicit else []), *named]
    elif not explicit:
        config.args += standing
    config.args[:] = list(dict.fromkeys(config.args))
    paths = {*named, *standing, *(os.path.realpath(invoked / path) for path in addressed)}
    config.pluginmanager.register(_Programs(paths), "backprop-programs")


def _programs(paths: list[str]) -> list[str]:
    if not paths:
        return []
    try:
        return [os.path.realpath(path) for path in checking.programs(paths)]
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
        option = self.config.option
        try:
            checkup = checked(self.config, self.path, call=option.backprop_call)
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
            return _told(f"{excinfo.value}\n\nagain  {again}", *self.reportinfo()[:2])
        return super().repr_failure(excinfo, *args, **options)

    def reportinfo(self) -> tuple[Path, int, str]:
        """The program, and the line of the first finding."""
        line = self.check.findings[0].position.line - 1 if self.check.findings else 0
        return self.path, line, f"{self.path.name}: {self.name}"


def _told(text: str, path: Path, line: int) -> Any:
    """The text as the report of a failure, its first line as the summary; in this form it is not told twice."""
    from _pytest._code.code import ReprEntryNative, ReprExceptionInfo, ReprFileLocation, ReprTraceback

    place = ReprFileLocation(str(path), line + 1, text.partition("\n")[0])
    return ReprExceptionInfo(
        reprcrash=place,
        reprtraceback=ReprTraceback([ReprEntryNative([text + "\n"])], None, "native"),
    )


class CheckFailed(Exception):
    """A check of a program that is wrong."""


_reports: pytest.StashKey[dict[Any, Any]] = pytest.StashKey()


def checked(
    config: pytest.Config, path: Path, *, call: str | None = None, seed: int | None = None, **wishes: Any
) -> Checkup:
    """Check a program, once in a test session for the same wishes."""
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
