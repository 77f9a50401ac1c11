"""The pytest plugin: inner runs for every option and fixture, and processes of their own where that matters."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import handmade
import pytest

import backprop_doctor
from backprop_doctor import checking, pytest_programs
from backprop_doctor.records import FileReport, Metric, Network, ParameterVerdict, Unchecked

pytest_plugins = ["pytester"]

# What an inner run is the first to import is forgotten after it, and numpy cannot be imported twice.
for _module in pkgutil.walk_packages(backprop_doctor.__path__, "backprop_doctor."):
    if not _module.name.endswith("__main__"):
        importlib.import_module(_module.name)

PACKAGE = Path(pytest_programs.__file__).parent
NETWORK = PACKAGE.parent / "fixtures" / "networks" / "thread_question.py"
HAS_ENTRY_POINT = any(e.value == "backprop_doctor.pytest_plugin" for e in metadata.entry_points(group="pytest11"))
# An environment that was made before there was an entry point names the plugin itself.
PLUGIN = () if HAS_ENTRY_POINT else ("-p", "backprop_doctor.pytest_plugin")
IDLE_MS = 10.0

UNKNOWN = ParameterVerdict("W9", 3, (2, 2), (), None, "unknown", None, None, "nothing fits")
RIGHT = ParameterVerdict("W1", 4, (2, 2), (), "dW1", "right", 1e-9, "1/N", "")


def network(*parameters: ParameterVerdict, recomputed: float | None = 0.5) -> Network:
    return Network(parameters, metric=Metric("accuracy", 9, 0.5, recomputed))


REPORTS = {
    "net.py": handmade.FAULTY,
    "good.py": FileReport("good.py", "healthy", True, 1.5, network=network(RIGHT)),
    "half.py": FileReport("half.py", "healthy", True, 0.5, network=network(RIGHT, UNKNOWN, recomputed=None)),
    "broken.py": FileReport("broken.py", "unknown", False, 0.1, unchecked=(Unchecked("the program", "it hangs"),)),
    "empty.py": FileReport("empty.py", "unknown", True, 0.1),
}


@pytest.fixture
def runs(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, checking.Options]]:
    """A folder with programs whose reports are known; what was checked."""
    for name in REPORTS:
        pytester.path.joinpath(name).write_text(handmade.PROGRAM if name == "net.py" else "raise SystemExit(9)\n")
    checked: list[tuple[str, checking.Options]] = []

    def check_file(path: str, options: checking.Options) -> FileReport:
        checked.append((path, options))
        return REPORTS[Path(path).name]

    monkeypatch.setattr(checking, "check_file", check_file)
    return checked


def inner(pytester: pytest.Pytester, *arguments: str) -> Any:
    return pytester.runpytest_inprocess(*PLUGIN, "-p", "no:cacheprovider", "-rA", *arguments)


def names(result: Any, outcome: str) -> list[str]:
    lines = [line.removeprefix(f"{outcome} ") for line in result.outlines if line.startswith(f"{outcome} ")]
    return [line.partition(" - ")[0] for line in lines]


def test_every_check_of_a_program_is_an_item(pytester: pytest.Pytester, runs: list[Any]) -> None:
    result = inner(pytester, "--backprop", "good.py")
    assert names(result, "PASSED") == [
        "good.py::backprop::runs",
        "good.py::backprop::gradient of W1",
        "good.py::backprop::reported accuracy",
    ]
    assert result.ret == 0
    assert [path for path, _ in runs] == ["good.py"]


def test_findings_are_the_report_of_a_failure(pytester: pytest.Pytester, runs: list[Any]) -> None:
    result = inner(pytester, "--backprop", "net.py")
    assert result.ret == 1
    text = result.stdout.str()
    errors = [finding for finding in handmade.FAULTY.findings if finding.severity == "error"]
    for finding in errors:
        assert f"{finding.code} {finding.name}" in text
    assert 'again  pytest "net.py::backprop::' in text
    assert "Traceback" not in text
    assert len(runs) == 1


def test_what_cannot_be_told_is_skipped_with_its_reason(pytester: pytest.Pytester, runs: list[Any]) -> None:
    result = inner(pytester, "--backprop", "half.py")
    result.assert_outcomes(passed=2, skipped=2)
    result.stdout.fnmatch_lines(["*half.py:1: cannot tell: nothing fits"])
    result.stdout.fnmatch_lines(["*cannot tell: it could not be recomputed*"])


@pytest.mark.parametrize(("name", "said"), [("broken.py", "it hangs"), ("empty.py", "nothing could be judged")])
def test_a_program_of_which_nothing_is_known_fails(
    pytester: pytest.Pytester, runs: list[Any], name: str, said: str
) -> None:
    result = inner(pytester, "--backprop", name)
    assert names(result, "FAILED") == [f"{name}::backprop::runs"]
    result.stdout.fnmatch_lines([f"*{said}*"])


def test_programs_are_never_imported(pytester: pytest.Pytester, runs: list[Any]) -> None:
    result = inner(pytester, "good.py", "--backprop", "good.py")
    result.assert_outcomes(passed=3)


def test_options_reach_the_check(pytester: pytest.Pytester, runs: list[Any]) -> None:
    inner(
        pytester,
        "--backprop",
        "good.py",
        "--backprop-seed",
        "7",
        "--backprop-call",
        "f()",
        "--backprop-time-limit",
        "9",
    )
    assert runs == [("good.py", checking.Options(call="f()", seed=7, time_limit_seconds=9.0))]


def test_the_seed_is_repeated_in_the_failure(pytester: pytest.Pytester, runs: list[Any]) -> None:
    inner(pytester, "--backprop", "net.py", "--backprop-seed", "7").stdout.fnmatch_lines(["again  *--backprop-seed 7"])


def test_only_what_is_named_is_run(pytester: pytest.Pytester, runs: list[Any]) -> None:
    pytester.makepyfile(test_other="def test_other(): pass")
    inner(pytester, "--backprop", "good.py").assert_outcomes(passed=3)
    inner(pytester, "--backprop", "good.py", "test_other.py").assert_outcomes(passed=4)


def test_programs_of_the_settings_are_checked_with_the_tests(pytester: pytest.Pytester, runs: list[Any]) -> None:
    pytester.makepyfile(test_other="def test_other(): pass")
    pytester.makeini("[pytest]\nbackprop_paths = good.py half.py\n")
    inner(pytester).assert_outcomes(passed=1 + 3 + 2, skipped=2)
    inner(pytester, "test_other.py").assert_outcomes(passed=1)
    inner(pytester, "--backprop", "good.py").assert_outcomes(passed=3)


def test_items_are_selected_by_keyword_marker_and_address(pytester: pytest.Pytester, runs: list[Any]) -> None:
    inner(pytester, "--backprop", "good.py", "-k", "gradient").assert_outcomes(passed=1, deselected=2)
    inner(pytester, "--backprop", "good.py", "-m", "not backprop").assert_outcomes(deselected=3)
    inner(pytester, "good.py::backprop::gradient of W1").assert_outcomes(passed=1)


def test_the_first_failure_ends_the_run_and_last_failures_are_run_again(
    pytester: pytest.Pytester, runs: list[Any]
) -> None:
    assert len(names(inner(pytester, "--backprop", "net.py", "-x"), "FAILED")) == 1
    first = pytester.runpytest_inprocess(*PLUGIN, "-rA", "--backprop", "net.py")
    again = pytester.runpytest_inprocess(*PLUGIN, "-rA", "--backprop", "net.py", "--lf")
    assert names(again, "FAILED") == names(first, "FAILED")
    assert names(again, "PASSED") == []


def test_warnings_fail_on_request_only(pytester: pytest.Pytester, runs: list[Any]) -> None:
    plain = names(inner(pytester, "--backprop", "net.py"), "FAILED")
    strict = names(inner(pytester, "--backprop", "net.py", "--backprop-strict"), "FAILED")
    assert set(plain) < set(strict)


def test_a_path_that_does_not_exist_gets_the_nearest_match(pytester: pytest.Pytester, runs: list[Any]) -> None:
    result = inner(pytester, "--backprop", "god.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*there is no file or folder *god.py; did you mean *good.py?"])


def test_the_plugin_can_be_switched_off(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_nothing(): pass")
    result = pytester.runpytest_inprocess("-p", "no:backprop", "-p", "no:backprop_doctor.pytest_plugin", "--fixtures")
    assert "gradcheck" not in result.stdout.str()


# -- fixtures and marker ---------------------------------------------------------------------------------


def test_fixtures_fail_the_test_with_the_whole_story(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import numpy as np

        X = np.ones((5, 2))

        def test_right(gradcheck, check_layer):
            assert gradcheck(lambda x: (x**2).sum(), np.ones(3), 2 * np.ones(3)).passed
            assert check_layer((np.tanh, lambda dout, x: dout / np.cosh(x) ** 2), X).passed

        def test_wrong(gradcheck):
            gradcheck(lambda w: ((X @ w) ** 2).sum(), np.ones(2), X.T @ X @ np.ones(2))

        def test_layer(check_layer):
            check_layer((np.tanh, lambda dout, x: dout), X)
        """
    )
    result = inner(pytester, "--backprop-seed", "3", "-o", "junit_family=xunit1", "--junitxml", "out.xml")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        ["E*w  wrong: it is 1/2 times the derivative*", "E*again  seed=3, or pytest --backprop-seed 3"]
    )
    assert "gradient_report.py" not in result.stdout.str()
    properties = {p.get("name"): p.get("value") for p in xml.parse(pytester.path / "out.xml").iter("property")}
    assert properties["factor of w"] == "1/2"


def test_the_report_of_a_program_is_shared_by_tests_that_name_it(pytester: pytest.Pytester, runs: list[Any]) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.backprop("net.py")
        def test_marked(backprop_doctor):
            assert backprop_doctor().file.ran

        def test_path(backprop_doctor):
            backprop_doctor("net.py").check("runs")

        def test_missing(backprop_doctor):
            backprop_doctor("good.py").check("gradient of W7")

        @pytest.mark.backprop("net.py", seed=4, call="f()")
        def test_options(backprop_doctor):
            assert not backprop_doctor().check()

        def test_unnamed(backprop_doctor):
            backprop_doctor()
        """
    )
    result = inner(pytester, "--strict-markers")
    result.assert_outcomes(passed=2, failed=3)
    result.stdout.fnmatch_lines(
        ["*good.py has no check gradient of W7; there are runs, gradient of W1, reported accuracy"]
    )
    assert [(Path(path).name, options.seed) for path, options in runs] == [("net.py", 0), ("good.py", 0), ("net.py", 4)]


def test_a_module_is_a_program(pytester: pytest.Pytester, runs: list[Any]) -> None:
    pytester.makepyfile(
        """
        import types

        def test_module(backprop_doctor):
            module = types.ModuleType("good")
            module.__file__ = "good.py"
            assert backprop_doctor(module).check("gradient of *")
        """
    )
    inner(pytester).assert_outcomes(passed=1)


# -- processes of their own ------------------------------------------------------------------------------


def process(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", *PLUGIN, "-p", "no:cacheprovider", *arguments]
    path = {"PYTHONPATH": str(PACKAGE.parent)}
    return subprocess.run(command, cwd=folder, env={**os.environ, **path}, capture_output=True, text=True, check=False)


def test_the_questions_program_in_parallel_and_for_a_learning_platform(tmp_path: Path) -> None:
    (tmp_path / "mynet.py").write_bytes(NETWORK.read_bytes())
    result = process(tmp_path, "--backprop", "mynet.py", "-n", "2", "--junitxml", "marks.xml")
    assert result.returncode == 1, result.stdout + result.stderr
    cases = {case.get("name"): case for case in xml.parse(tmp_path / "marks.xml").iter("testcase")}
    failed = {name for name, case in cases.items() if case.find("failure") is not None}
    assert {"gradient of b1", "gradient of b2", "softmax normalises over classes", "reported accuracy"} <= failed
    assert {"runs", "gradient of W1", "gradient of W2", "update"} <= set(cases) - failed
    properties = {p.get("name"): p.get("value") for p in cases["gradient of W1"].iter("property")}
    assert properties["factor"] == "1/D"
    assert float(next(p.get("value") for p in cases["runs"].iter("property") if p.get("name") == "seconds")) > 0
    # Each finding is told once.
    assert (tmp_path / "marks.xml").read_text(encoding="utf-8").count("^ sums over the 10 classes") == 1


MEASURE = """
import json, sys, time
import pytest
started = time.process_time()
plugin = __import__({module!r}, fromlist=["x"])
imported = time.process_time() - started

class Around:
    def pytest_sessionfinish(self):
        spent["modules"] = sorted(set(sys.modules))

spent = dict(ms=1000 * imported)
pytest.main(["-q", "-p", {module!r}, "-p", "no:backprop", "-p", "no:hypothesispytest", "-p", "no:xdist",
             "-p", "no:cacheprovider", {test!r}], plugins=[Around()])
print("\\n" + json.dumps(spent))
"""


def idle(tmp_path: Path, module: str) -> tuple[float, set[str]]:
    """Processor time in ms that an unused plugin takes to import, the least of several, and what is loaded."""
    test = tmp_path / "test_nothing.py"
    test.write_text("def test_nothing(): pass\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(PACKAGE.parent)])}
    environment["PYTHONPYCACHEPREFIX"] = str(tmp_path / "cache")
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    measured = []
    for _ in range(5):
        code = MEASURE.format(module=module, test=str(test))
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        measured.append(json.loads(done.stdout.splitlines()[-1]))
    return min(m["ms"] for m in measured), set(measured[0]["modules"])


def test_an_idle_plugin_costs_next_to_nothing(tmp_path: Path) -> None:
    milliseconds, modules = idle(tmp_path, "backprop_doctor.pytest_plugin")
    assert milliseconds <= IDLE_MS
    assert not {"numpy", "libcst", "click"} & modules
    assert {m for m in modules if m.startswith("backprop_doctor")} == {
        "backprop_doctor",
        "backprop_doctor.pytest_plugin",
    }


def test_the_measurement_of_idle_cost_can_fail(tmp_path: Path) -> None:
    heavy = "import numpy, libcst\nfrom backprop_doctor.pytest_plugin import *\n"
    (tmp_path / "heavy_plugin.py").write_text(heavy, encoding="utf-8")
    milliseconds, modules = idle(tmp_path, "heavy_plugin")
    assert milliseconds > IDLE_MS
    assert {"numpy", "libcst"} <= modules
