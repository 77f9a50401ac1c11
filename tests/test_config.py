"""Settings in pyproject.toml, and lines that say ``# noqa``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import handmade
import networks
import pytest
from click.testing import CliRunner, Result

from backprop_doctor import config, worker
from backprop_doctor.checking import Options
from backprop_doctor.cli import cli
from backprop_doctor.errors import UsageError
from backprop_doctor.records import FileReport, Finding, Position
from backprop_doctor.selection import Selection, sift
from backprop_doctor.serialise import file_to_json
from backprop_doctor.source import Project, Source

EVERYTHING = """
[tool.backprop-doctor]
select = ["BD3", "softmax-over-samples"]
ignore = "BD302"
extend-select = ["BD401"]
per-file-ignores = { "old/*.py" = ["BD301"], "net.py" = ["BD4"] }
time-limit = 2.5
memory-limit = 512
seed = 7
call = "train(X)"
args = "--epochs 3 'a b'"
paths = ["nets"]
jobs = 2
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "nets" / "deep").mkdir(parents=True)
    (tmp_path / "nets" / "net.py").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def requests(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is asked of the child process, which finds nothing."""
    asked: list[dict[str, Any]] = []

    def run(task: str, request: dict[str, Any], *, time_limit: float, memory_limit_mib: int) -> dict[str, Any]:
        asked.append({"time": time_limit, "memory": memory_limit_mib, **request})
        return {"report": file_to_json(FileReport(request["path"], "healthy", ran=True, seconds=0.1))}

    monkeypatch.setattr(worker, "run", run)
    return asked


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), prog_name="backprop-doctor")


def settle(folder: Path, text: str, name: str = "pyproject.toml") -> None:
    (folder / name).write_text(text, encoding="utf-8")
    config._table.cache_clear()


def test_every_key_reaches_the_check(folder: Path) -> None:
    settle(folder, EVERYTHING)
    options = config.options("nets/net.py", {})
    assert replace(options, per_file_ignores=()) == Options(
        call="train(X)",
        arguments=("--epochs", "3", "a b"),
        seed=7,
        select=("BD3", "BD102"),
        ignore=("BD302",),
        extend_select=("BD401",),
        time_limit_seconds=2.5,
        memory_limit_mib=512,
    )
    found = config.find("nets/net.py")
    assert (found.paths, found.jobs) == (("nets",), 2)
    wants = options.selection.wants
    assert wants("BD301", str(folder / "nets" / "net.py"))
    assert not wants("BD401", str(folder / "nets" / "net.py"))
    assert not wants("BD301", str(folder / "old" / "one.py"))


def test_the_command_line_wins(requests: list[dict[str, Any]], folder: Path) -> None:
    settle(folder, EVERYTHING)
    doctor("check", "nets/net.py", "--seed", "0", "--time-limit", "9", "--call", "f()", "--args", "", "--ignore", "BD5")
    (asked,) = requests
    assert (asked["seed"], asked["time"], asked["memory"]) == (0, 9, 512)
    assert (asked["call"], asked["arguments"]) == ("f()", [])
    assert (asked["select"], asked["ignore"]) == (["BD3", "BD102"], ["BD302", "BD5"])


def test_a_selection_on_the_command_line_sets_aside_the_one_in_the_file(
    requests: list[dict[str, Any]], folder: Path
) -> None:
    settle(folder, EVERYTHING)
    doctor("check", "nets/net.py", "--select", "BD302")
    assert (requests[0]["select"], requests[0]["ignore"], requests[0]["extend_select"]) == (["BD302"], [], [])


def test_paths_of_the_file_are_checked_where_none_are_given(requests: list[dict[str, Any]], folder: Path) -> None:
    assert doctor("check").exit_code == 2
    settle(folder, EVERYTHING)
    assert doctor("check").exit_code == 0
    assert [asked["path"] for asked in requests] == [str(folder / "nets" / "net.py")]


def test_the_nearest_file_with_settings_counts_and_one_without_is_passed_over(folder: Path) -> None:
    settle(folder, "[tool.backprop-doctor]\nseed = 1\n")
    settle(folder / "nets", "[tool.other]\nseed = 2\n")
    settle(folder / "nets" / "deep", "[tool.backprop-doctor]\nseed = 3\n")
    assert config.find("nets/net.py").seed == 1
    assert config.find("nets/deep/net.py").seed == 3


def test_config_names_another_file(requests: list[dict[str, Any]], folder: Path) -> None:
    settle(folder, "[tool.backprop-doctor]\nseed = 1\n")
    settle(folder, "[tool.backprop-doctor]\nseed = 4\n", "strict.toml")
    doctor("check", "nets/net.py", "--config", "strict.toml")
    doctor("check", "nets/net.py")
    assert [asked["seed"] for asked in requests] == [4, 1]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("selct = ['BD3']", "has no key selct; did you mean select?"),
        ("zzz = 1", "has no key zzz; there are select, ignore, extend-select,"),
        ("select = ['BD3O1']", "select: there is no rule BD3O1; did you mean BD3"),
        ("seed = -1", "seed = -1: it has to be a whole number, at least 0"),
        ("seed = true", "seed = True: it has to be"),
        ("time-limit = 0", "time-limit = 0: it has to be a number of seconds above 0"),
        ("ignore = 3", "ignore = 3: it has to be a list of codes"),
        ("per-file-ignores = ['BD301']", "it has to be a table of patterns"),
        ("call = 3", "call = 3: it has to be a text of Python"),
        ("seed = ", "this is not TOML"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_in_one_sentence(folder: Path, text: str, sentence: str) -> None:
    settle(folder, f"[tool.backprop-doctor]\n{text}\n")
    result = doctor("check", "nets/net.py")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"backprop-doctor: {folder / 'pyproject.toml'}: ")
    assert sentence in result.stderr


def test_a_file_named_by_config_has_to_be_there_and_have_the_table(folder: Path) -> None:
    settle(folder, "[tool.other]\n")
    assert "there is no such file" in doctor("check", "nets/net.py", "--config", "gone.toml").stderr
    assert "there is no table [tool.backprop-doctor]" in doctor("trace", "nets", "--config", "pyproject.toml").stderr


@pytest.mark.parametrize(
    ("selection", "code", "wanted"),
    [
        (Selection(), "BD301", True),
        (Selection(select=("BD3",)), "BD301", True),
        (Selection(select=("bd3",)), "BD401", False),
        (Selection(select=("BD3",), ignore=("BD301",)), "BD301", False),
        (Selection(select=("BD3",), extend_select=("BD401",)), "BD401", True),
        (Selection(ignore=("BD3",), extend_select=("BD301",)), "BD301", True),
        (Selection(ignore=("BD301",), extend_select=("BD301",)), "BD301", True),
        (Selection(ignore=("BD301",), extend_select=("BD3",)), "BD301", False),
    ],
)
def test_the_closer_of_two_selectors_wins(selection: Selection, code: str, wanted: bool) -> None:
    assert selection.wants(code, "net.py") is wanted


def sifted(
    text: str, *places: tuple[int, str], selection: Selection | None = None
) -> tuple[list[tuple[int, str]], list[str]]:
    findings = [
        Finding(code, code.lower(), "error", "confirmed", Position("net.py", line, 1, line, 2), "seen")
        for line, code in places
    ]
    kept, remarks = sift(findings, Project([Source("net.py", text)]), selection or Selection())
    return [(finding.position.line, finding.code) for finding in kept], remarks


@pytest.mark.parametrize(
    "comment", ["# noqa", "#noqa", "# NoQA: BD301", "# noqa: E501, BD301", "# noqa:BD3", "# why # noqa: BD301"]
)
def test_noqa_silences_findings_at_its_line(comment: str) -> None:
    kept, remarks = sifted(f"a = 1\nb = 2  {comment}\n", (1, "BD301"), (2, "BD301"))
    assert kept == [(1, "BD301")]
    assert remarks == ["net.py:2: BD301 bd301 is silenced by # noqa"]


@pytest.mark.parametrize("line", ["b = '# noqa'", "b = 2  # noqa: E501", "b = 2  # noqa: BD401", "b = 2  # no-qa"])
def test_other_comments_and_strings_silence_nothing(line: str) -> None:
    assert sifted(f"{line}\n", (1, "BD301"))[0] == [(1, "BD301")]


def test_noqa_that_silences_nothing_is_reported_unless_its_rule_is_not_wanted() -> None:
    text = "a = 1  # noqa: BD301, E501\n"
    assert sifted(text)[1] == ["net.py:1: # noqa: BD301 silences nothing and can go"]
    assert sifted(text, selection=Selection(select=("BD4",))) == ([], [])
    assert sifted("a = 1  # noqa\n") == ([], [])


def test_noqa_with_a_code_that_does_not_exist_is_reported() -> None:
    _, (remark,) = sifted("a = 1  # noqa: BD391\n", (1, "BD301"))
    assert "net.py:1: # noqa: there is no rule BD391; did you mean" in remark


def test_a_silenced_error_leaves_a_program_healthy_and_the_line_wrong(tmp_path: Path) -> None:
    faulty = networks.FOLDER / "single" / "samples_first_bias_gradient_no_axis.py"
    places = networks.expected(faulty)
    lines = faulty.read_text(encoding="utf-8").splitlines()
    for line, code in places:
        lines[line - 1] = lines[line - 1].partition("  #")[0] + f"  # noqa: {code}"
    path = tmp_path / "net.py"
    path.write_text("\n".join(lines), encoding="utf-8")
    report = networks.diagnosed(path)
    assert report.verdict == "healthy"
    assert [finding for finding in report.findings if finding.severity == "error"] == []
    assert sum("is silenced by # noqa" in remark for remark in report.remarks) == len(places)
    assert report.network is not None
    assert "wrong" in {parameter.verdict for parameter in report.network.parameters}


def test_the_report_repeats_the_settings_that_were_named(
    requests: list[dict[str, Any]], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(folder, "[tool.backprop-doctor]\n")
    faulty = {"report": file_to_json(handmade.FAULTY)}
    monkeypatch.setattr(worker, "run", lambda *_, **__: faulty)
    assert "--config pyproject.toml" in doctor("check", "nets/net.py", "--config", "pyproject.toml").stdout


def test_a_broken_file_that_does_not_concern_this_tool_is_passed_over(folder: Path) -> None:
    settle(folder, "[tool.other\n")
    assert config.find("nets/net.py") == config.Config()
    with pytest.raises(UsageError, match="there is no table"):
        config.read("pyproject.toml")
