"""The command line: options, exit codes and what is said about wrong use."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import handmade
import pytest
from click.testing import CliRunner, Result

import backprop_doctor
from backprop_doctor import checking, rules, worker
from backprop_doctor.cli import cli
from backprop_doctor.errors import DoctorError, ProgramError, UsageError
from backprop_doctor.records import FileReport, Report
from backprop_doctor.reports import View, handbook
from backprop_doctor.serialise import file_to_json

RULE = '''\
"""BD801 a-fault: {summary}

What it does
------------
Finds it.

Example
-------
    db = np.sum(dZ, axis=1)
"""

SEVERITY = "warning"
'''

Answer = FileReport | DoctorError | Exception


@pytest.fixture
def requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A folder with programs of known verdicts; what was asked of the child process."""
    monkeypatch.chdir(tmp_path)
    answers: dict[str, Answer] = {
        "net.py": handmade.FAULTY,
        "healthy.py": handmade.HEALTHY,
        "warned.py": FileReport("warned.py", "healthy", True, 0.1, findings=handmade.FINDINGS[7:8]),
        "broken.py": ProgramError("the program waits for input"),
        "unjudged.py": FileReport("unjudged.py", "unknown", True, 0.1),
        "misused.py": UsageError("--call cannot be parsed"),
        "tool.py": RuntimeError("a slip of ours"),
    }
    for name in answers:
        (tmp_path / name).write_text(handmade.PROGRAM if name == "net.py" else "", encoding="utf-8")
    asked: list[dict[str, Any]] = []

    def run(task: str, request: dict[str, Any], *, time_limit: float, memory_limit_mib: int) -> dict[str, Any]:
        asked.append({"task": task, "time": time_limit, "memory": memory_limit_mib, **request})
        answer = answers[os.path.basename(request["path"])]
        if isinstance(answer, Exception):
            raise answer
        return {"report": file_to_json(answer)}

    monkeypatch.setattr(worker, "run", run)
    return asked


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), prog_name="backprop-doctor")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("healthy.py", 0),
        ("warned.py", 0),
        ("warned.py --strict", 1),
        ("net.py", 1),
        ("net.py --exit-zero", 0),
        ("broken.py", 3),
        ("broken.py --exit-zero", 3),
        ("unjudged.py", 3),
        ("healthy.py net.py", 1),
        ("healthy.py net.py broken.py", 3),
        ("net.py healthy.py broken.py --jobs 3", 3),
        ("misused.py", 2),
        ("tool.py", 2),
        ("gone.py", 2),
        ("net.py --select BD999", 2),
        ("net.py --format yaml", 2),
        ("net.py --seed -1", 2),
        ("net.py --jobs 0", 2),
        ("", 2),
    ],
)
def test_check_ends_with_the_exit_code(requests: list[dict[str, Any]], arguments: str, code: int) -> None:
    result = doctor("check", *arguments.split())
    assert result.exit_code == code, result.output


def test_options_reach_the_child_process(requests: list[dict[str, Any]]) -> None:
    doctor("check", "net.py", "--call", "train(X)", "--args", "--epochs 3 'a b'", "--seed", "7",
           "--time-limit", "2.5", "--memory-limit", "512",
           "--select", "bd3,softmax-over-samples", "--ignore", "BD301", "--ignore", "BD4")  # fmt: skip
    assert requests == [
        {"task": "check", "path": os.path.abspath("net.py"), "call": "train(X)",
         "arguments": ["--epochs", "3", "a b"], "seed": 7, "time": 2.5, "memory": 512,
         "select": ["BD3", "BD102"], "ignore": ["BD301", "BD4"], "extend_select": [], "per_file_ignores": [],
         "fix": True, "train": False, "unsafe": False,
          "time_limit": 2.5}
    ]  # fmt: skip


def test_defaults_are_those_of_the_help(requests: list[dict[str, Any]]) -> None:
    doctor("check", "net.py")
    assert requests == [
        {"task": "check", "path": os.path.abspath("net.py"), "call": None, "arguments": [],
         "seed": 0, "time": 60, "memory": 4096,
         "select": [], "ignore": [], "extend_select": [], "per_file_ignores": [],
         "fix": True, "train": False, "unsafe": False,
          "time_limit": 60}
    ]  # fmt: skip


def test_extend_select_is_handed_on_beside_select_and_ignore(requests: list[dict[str, Any]]) -> None:
    doctor("check", "net.py", "--select", "BD3", "--extend-select", "BD102", "--ignore", "BD1")
    assert [requests[0][key] for key in ("select", "ignore", "extend_select")] == [["BD3"], ["BD1"], ["BD102"]]


def test_a_folder_means_its_python_files_and_no_hidden_or_foreign_ones(
    requests: list[dict[str, Any]], tmp_path: Path
) -> None:
    for name in ("b/net.py", "b/c/healthy.py", "b/.hidden/net.py", "b/__pycache__/net.py", "b/venv/net.py",
                 "b/mine/pyvenv.cfg", "b/mine/lib/net.py", "b/site-packages/net.py", "b/.net.py",
                 "b/notes.txt"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="utf-8")
    assert checking.programs(["b"]) == [os.path.join("b", "c", "healthy.py"), os.path.join("b", "net.py")]
    assert checking.programs(["b", "b/net.py", "./b"]) == checking.programs(["b"])
    result = doctor("check", "b", "--jobs", "2", "--format", "json")
    assert [file["path"] for file in json.loads(result.stdout)["files"]] == ["healthy.py", "net.py"]


def test_paths_are_said_as_they_were_given(requests: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    def run(task: str, request: dict[str, Any], **limits: Any) -> dict[str, Any]:
        if request["path"].endswith("broken.py"):
            raise ProgramError(f"{request['path']}:3: it stopped")
        return {"report": file_to_json(FileReport(request["path"], "healthy", ran=True, seconds=0.1))}

    monkeypatch.setattr(worker, "run", run)
    os.mkdir("b")
    for name in ("b/net.py", "b/broken.py"):
        Path(name).touch()
    broken, net = checking.check("b").files
    assert net.path == os.path.join("b", "net.py")
    assert broken.unchecked[0].why == f"{os.path.join('b', 'broken.py')}:3: it stopped"


def test_a_folder_without_python_is_one_sentence_and_exit_3(tmp_path: Path) -> None:
    result = doctor("check", str(tmp_path))
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == f"backprop-doctor: {tmp_path}: there is no Python file in this folder\n"


def test_a_missing_path_suggests_the_nearest(requests: list[dict[str, Any]]) -> None:
    result = doctor("check", "helthy.py")
    assert result.stderr == "backprop-doctor: there is no file or folder helthy.py; did you mean healthy.py?\n"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("chek", "net.py"), "did you mean check?"),
        (("zzz",), "there are check, trace, train, explain, rules, test-rule"),
        (("check", "net.py", "--chrt"), "--chart"),
        (("explain", "bias-gradient-wrong-axs"), "did you mean BD301 bias-gradient-wrong-axis"),
        (("explain", "softmax"), "did you mean BD102 softmax-over-samples"),
    ],
)
def test_wrong_use_suggests_the_nearest(arguments: tuple[str, ...], hint: str) -> None:
    result = doctor(*arguments)
    assert result.exit_code == 2
    assert hint in result.stderr


def test_a_fault_of_the_tool_is_called_one(requests: list[dict[str, Any]]) -> None:
    result = doctor("check", "tool.py")
    assert "RuntimeError: a slip of ours" in result.stderr
    assert result.stderr.endswith("this is a fault of the tool, not of the checked program\n")


def test_output_goes_to_a_file_without_colour(requests: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    result = doctor("check", "net.py", "--output", "report.txt")
    assert (result.exit_code, result.stdout) == (1, "")
    text = Path("report.txt").read_text(encoding="utf-8")
    assert "BD301" in text
    assert "\x1b" not in text
    assert "\x1b[" in doctor("check", "net.py").stdout


def test_output_never_overwrites_a_checked_program(requests: list[dict[str, Any]]) -> None:
    result = doctor("check", "net.py", "--output", "./net.py")
    assert result.exit_code == 2
    assert requests == []
    assert Path("net.py").read_text(encoding="utf-8") == handmade.PROGRAM


def test_an_output_that_cannot_be_written_is_said(requests: list[dict[str, Any]]) -> None:
    result = doctor("check", "net.py", "--output", "no/such/report.txt")
    assert result.exit_code == 2
    assert "--output no/such/report.txt cannot be written: No such file or directory" in result.stderr


def test_trace_shows_the_chart_and_no_findings(requests: list[dict[str, Any]]) -> None:
    result = doctor("trace", "net.py")
    assert result.exit_code == 1
    assert "33 | dZ2 = A2 - Y" in result.stdout
    assert "seen" not in result.stdout


def test_check_shows_the_chart_on_request(requests: list[dict[str, Any]]) -> None:
    assert "33 | dZ2 = A2 - Y" not in doctor("check", "net.py").stdout
    assert "33 | dZ2 = A2 - Y" in doctor("check", "net.py", "--chart").stdout


def test_the_python_door_gives_the_same_report(requests: list[dict[str, Any]]) -> None:
    report = backprop_doctor.check(Path("net.py"), "healthy.py", select=["BD3"], seed=3)
    assert report == Report((handmade.FAULTY, handmade.HEALTHY))
    assert (requests[0]["seed"], requests[0]["select"]) == (3, ["BD3"])


def test_public_names_are_sorted_and_all_there() -> None:
    assert backprop_doctor.__all__ == sorted(backprop_doctor.__all__)
    assert all(getattr(backprop_doctor, name) is not None for name in backprop_doctor.__all__)
    assert dir(backprop_doctor) == backprop_doctor.__all__
    with pytest.raises(AttributeError, match="has no attribute 'chek'"):
        _ = backprop_doctor.chek


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A catalogue of one rule."""
    (tmp_path / "a_fault.py").write_text(RULE.format(summary="one sentence\nin two lines"), encoding="utf-8")
    (tmp_path / "_helper.py").write_text("raise SystemExit", encoding="utf-8")
    return tmp_path


def test_a_rule_is_one_file_that_is_read_and_not_run(folder: Path) -> None:
    (rule,) = rules.catalogue(folder)
    assert (rule.code, rule.name, rule.severity, rule.family, rule.summary, rule.module) == (
        "BD801", "a-fault", "warning", "training dynamics", "one sentence in two lines", "a_fault")  # fmt: skip
    assert rules.find("bd801", folder) is rules.find("A_Fault", folder) is rule
    with pytest.raises(UsageError, match="did you mean BD801 a-fault"):
        rules.find("BD8O1", folder)


def test_explain_shows_the_page_without_underlines(folder: Path) -> None:
    assert handbook.page(rules.find("BD801", folder), View()) == (
        "BD801 a-fault  (warning, training dynamics)\n\none sentence in two lines\n\n"
        "What it does\n  Finds it.\n\nExample\n      db = np.sum(dZ, axis=1)"
    )


@pytest.mark.parametrize("text", ["", '"""No code: here."""\nSEVERITY = "error"', '"""BD101 name: no severity."""'])
def test_a_malformed_rule_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "rule.py").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"rule\.py"):
        rules.catalogue(tmp_path)


def test_every_rule_can_be_explained_and_is_listed() -> None:
    listed = doctor("rules").stdout
    for rule in rules.catalogue():
        assert rule.code in listed
        assert rule.name in doctor("explain", rule.code).stdout
    assert len({rule.code for rule in rules.catalogue()}) == len({rule.name for rule in rules.catalogue()})


def python(*arguments: str, **extra: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, **extra)


def imported_by(code: str) -> set[str]:
    done = python("-c", f"import sys\nbefore = set(sys.modules)\n{code}\nprint(*(set(sys.modules) - before))")
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_the_command_line_starts_with_nothing_heavier_than_click() -> None:
    heavy = {"numpy", "libcst", "pytest", "rich", "scipy", "json", "subprocess", "xml", "concurrent"}
    click_alone = imported_by("import click")
    started = imported_by("import backprop_doctor.cli")
    assert "click" in started
    assert not started & (heavy - click_alone)


def test_help_and_rules_do_not_import_numpy() -> None:
    for command in (["--help"], ["check", "--help"], ["rules"], ["explain", "BD301"]):
        code = f"import backprop_doctor.cli as c\ntry: c.cli({command!r})\nexcept SystemExit: pass\nprint()"
        assert "numpy" not in imported_by(code)


def test_this_kind_of_test_can_fail() -> None:
    assert "numpy" in imported_by("import numpy")


def test_help_shows_examples_and_exit_codes() -> None:
    assert "3  something could not be checked" in doctor("--help").stdout
    for command in ("check", "trace", "explain", "rules"):
        assert f"  backprop-doctor {command}" in doctor(command, "--help").stdout


def test_the_version_is_shown() -> None:
    assert doctor("--version").stdout == f"backprop-doctor {backprop_doctor.__version__}\n"


def test_a_module_can_be_run_as_a_program() -> None:
    done = python("-m", "backprop_doctor", "--help")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m backprop_doctor rules | head -c 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_interrupting_ends_with_130_and_no_traceback(tmp_path: Path, jobs: str) -> None:
    if jobs != "1" and not hasattr(worker, "stop_all"):
        pytest.skip("the worker cannot end its children yet")
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("total = sum(range(10**13))\n", encoding="utf-8")
    command = [sys.executable, "-m", "backprop_doctor", "check", str(tmp_path), "--jobs", jobs, "--time-limit", "30"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        _wait_for(lambda: bool(_children(running.pid)))
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=10)
    finally:
        running.kill()
    assert running.returncode == 130
    assert "Traceback" not in said


def _wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.02)


def _children(process: int) -> list[str]:
    try:
        tasks = Path(f"/proc/{process}/task").iterdir()
        return [child for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return ["unknown"]
