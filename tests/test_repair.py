"""A fix is tested by applying it, running the program and looking at what comes out."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import networks
import pytest

from backprop_doctor import checking, patching
from backprop_doctor.errors import UsageError
from backprop_doctor.records import Edit, FileReport, Finding, Fix, Position
from backprop_doctor.repair import repair
from backprop_doctor.source import Project, Source

FAULTY = [path for path in networks.programs(".", "single") if "error" in networks.expected(path).values()]


def mended(path: Path, folder: Path) -> tuple[FileReport, Path]:
    copy = folder / path.name
    shutil.copy(path, copy)
    report = networks.diagnosed(copy, fix=True, search_seconds=300)
    if report.fix is not None and report.fix.edits:
        patching.write(report)
    return report, copy


@pytest.mark.parametrize("path", FAULTY, ids=lambda path: path.stem)
def test_a_verified_fix_leaves_a_healthy_program(path: Path, tmp_path: Path) -> None:
    report, copy = mended(path, tmp_path)
    assert report.fix is not None
    if "# unfixed" in path.read_text(encoding="utf-8"):
        assert report.fix.status != "verified"
        return
    assert report.fix.status == "verified"
    after = networks.diagnosed(copy, fix=True)
    assert after.verdict == "healthy"
    assert after.fix is None


def finding(code: str, line: int, edit: Edit | None) -> Finding:
    position = Position("net.py", line, 1, line, 2)
    fix = Fix("offered", "do that", (edit,)) if edit else Fix()
    return Finding(code, "name", "error", "confirmed", position, f"{code} at {line}", fix=fix)


def replaced(line: int, old: str, new: str) -> Edit:
    return Edit(Position("net.py", line, 1, line, 1 + len(old)), new)


def report_of(*findings: Finding) -> FileReport:
    return FileReport("net.py", "faulty" if findings else "healthy", True, 0.0, findings=findings)


SOURCE = Source("net.py", "a = 1\nb = 2\n")


def test_a_fix_that_changes_nothing_is_refused() -> None:
    fault = finding("BD301", 1, replaced(1, "a", "a"))
    result = repair(SOURCE, report_of(fault), lambda source: report_of(fault))
    assert result.fix is not None
    assert result.fix.status == "none"
    assert result.findings[0].fix.status == "offered"


def test_a_fix_that_breaks_the_syntax_is_refused() -> None:
    fault = finding("BD301", 1, replaced(1, "a", "a("))
    result = repair(SOURCE, report_of(fault), lambda source: report_of())
    assert result.fix is not None
    assert result.fix.status == "none"


def test_a_fix_that_trades_one_fault_for_another_is_refused() -> None:
    fault = finding("BD301", 1, replaced(1, "a", "c"))
    result = repair(SOURCE, report_of(fault), lambda source: report_of(finding("BD402", 2, None)))
    assert result.fix is not None
    assert result.fix.status == "none"


def test_only_the_edits_that_mend_something_stay() -> None:
    useless, good = finding("BD301", 1, replaced(1, "a", "c")), finding("BD402", 2, replaced(2, "b", "d"))

    def judge(source: Project) -> FileReport:
        return report_of(*(() if "d = 2" in source.text else (good,)), useless)

    result = repair(SOURCE, report_of(useless, good), judge)
    assert result.fix is not None
    assert result.fix.status == "partial"
    assert result.fix.edits == good.fix.edits
    assert [f.fix.status for f in result.findings] == ["offered", "verified"]


@pytest.fixture
def fixed(tmp_path: Path) -> tuple[FileReport, Path]:
    path = tmp_path / "net.py"
    shutil.copy(networks.FOLDER / "single" / "samples_first_update_sign.py", path)
    return networks.diagnosed(path, fix=True), path


def test_a_file_that_changed_meanwhile_is_not_written(fixed: tuple[FileReport, Path]) -> None:
    report, path = fixed
    path.write_text(path.read_text() + "\n# later\n")
    before = path.read_bytes()
    with pytest.raises(UsageError, match="has changed since"):
        patching.write(report)
    assert path.read_bytes() == before


def test_writing_keeps_permissions_links_and_the_old_text(fixed: tuple[FileReport, Path], tmp_path: Path) -> None:
    report, path = fixed
    before = path.read_bytes()
    path.chmod(0o750)
    link = tmp_path / "link.py"
    link.symlink_to(path)
    [(kept, _)] = patching.write(replace(report, path=str(link)))
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    assert Path(os.path.abspath(kept)).read_bytes() == before
    assert path.read_bytes() != before


def test_the_thread_s_program_is_mended_by_a_few_characters() -> None:
    report = networks.diagnosed(networks.FOLDER / "thread_question.py", fix=True)
    assert report.fix is not None
    assert report.fix.diff is not None
    added = [line for line in report.fix.diff.splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert len(added) <= 8


def test_the_command_line_prints_a_diff_and_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    shutil.copy(networks.FOLDER / "single" / "samples_first_update_sign.py", path)
    before = path.read_bytes()
    report = checking.check_file(str(path), checking.Options())
    assert report.fix is not None
    assert report.fix.diff is not None
    assert report.fix.diff.startswith(f"--- {path}")
    assert path.read_bytes() == before
