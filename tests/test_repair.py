"""A fix is tested by applying it, running the program and looking at what comes out."""

from __future__ import annotations

import ast
import os
import shutil
import stat
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from pathlib import Path

import combined
import networks
import numpy as np
import pytest
from trajectories import trajectory

from backprop_doctor import checking, diagnosis, patching
from backprop_doctor.errors import UsageError
from backprop_doctor.records import (
    Edit,
    FileReport,
    Finding,
    Fix,
    LineVerdict,
    Network,
    ParameterVerdict,
    Position,
    ProgramFix,
)
from backprop_doctor.repair import repair
from backprop_doctor.source import Project, Source, open_project

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


SINGLE = [path for path in FAULTY if path.parent.name == "single" and "# unfixed" not in path.read_text("utf-8")]


@pytest.mark.parametrize("path", SINGLE, ids=lambda path: path.stem)
def test_a_mended_program_takes_the_steps_of_its_healthy_twin(path: Path, tmp_path: Path) -> None:
    _, copy = mended(path, tmp_path)
    layout = next(layout for layout in combined.LAYOUTS if path.name.startswith(layout))
    wanted = trajectory("".join(combined.healthy(layout)))
    for found, step in zip(trajectory(copy.read_text(encoding="utf-8")), wanted, strict=True):
        np.testing.assert_allclose(found, step, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("layout", combined.LAYOUTS)
def test_where_faults_together_bring_a_program_to_a_stop_is_told(layout: str, tmp_path: Path) -> None:
    faults = ("batch_size_from_feature_axis", "gradient_wrong", "parameter_shape_drift", "update_sign")
    several = combined.Several(layout, faults)
    path = tmp_path / "network.py"
    path.write_text(several.text, encoding="utf-8")
    findings = [f for f in networks.diagnosed(path).findings if f.severity == "error"]
    named = {(f.position.line, f.code) for f in findings}
    assert (18, "BD114") in named
    assert named <= several.expected.keys() | {(18, "BD114")}
    assert "b1" in next(f.message for f in findings if f.code == "BD114")


@pytest.mark.parametrize("several", combined.recipes(), ids=str)
def test_of_several_faults_at_once_all_are_named_and_none_is_mended_wrongly(
    several: combined.Several, tmp_path: Path
) -> None:
    path = tmp_path / "network.py"
    path.write_text(several.text, encoding="utf-8")
    report = networks.diagnosed(path, fix=True, search_seconds=120)
    assert report.fix is not None
    if report.fix.edits:
        patching.write(report)
    named = {(f.position.line, f.code) for f in report.findings if f.severity == "error"}
    assert named == several.expected.keys()
    after = networks.diagnosed(path)
    if report.fix.status != "verified" or after.findings:
        # What remains is said.
        assert [f for f in after.findings if f.severity != "note"]
        return
    wanted = trajectory("".join(combined.healthy(several.layout)))
    for found, step in zip(trajectory(path.read_text(encoding="utf-8")), wanted, strict=True):
        np.testing.assert_allclose(found, step, rtol=1e-6, atol=1e-9)


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
    result = repair(SOURCE, report_of(fault), lambda source, codes: report_of(fault))
    assert result.fix is not None
    assert result.fix.status == "none"
    assert result.findings[0].fix.status == "offered"


def test_a_fix_that_breaks_the_syntax_is_refused() -> None:
    fault = finding("BD301", 1, replaced(1, "a", "a("))
    result = repair(SOURCE, report_of(fault), lambda source, codes: report_of())
    assert result.fix is not None
    assert result.fix.status == "none"


def test_a_fix_that_trades_one_fault_for_another_is_refused() -> None:
    fault = finding("BD301", 1, replaced(1, "a", "c"))
    result = repair(SOURCE, report_of(fault), lambda source, codes: report_of(finding("BD402", 2, None)))
    assert result.fix is not None
    assert result.fix.status == "none"


@pytest.mark.parametrize(
    ("instead", "status"), [("right / len(held_out)\n    right.T", "none"), ("right / len(held_out)", "verified")]
)
def test_a_fix_with_which_the_program_stops_after_its_first_steps_is_refused(instead: str, status: str) -> None:
    source = open_project(str(networks.FOLDER.parent / "rules" / "accuracy_denominator" / "bad_one_by_one.py"))
    case = diagnosis.open_case(source)
    report = diagnosis._examined(case)
    [fault] = report.findings
    node = next(n for n in ast.walk(source.tree) if isinstance(n, ast.BinOp) and "len(training)" in source.segment(n))
    proposed = replace(fault, fix=Fix("offered", "", (case.edit(node, instead),)))
    trials = partial(diagnosis._Trials(case, None).examine, diagnosis.SIZES_OF_TRIALS, 1, 1.0)
    result = repair(source, replace(report, findings=(proposed,)), trials)
    assert result.fix is not None
    assert result.fix.status == status


def test_only_the_edits_that_mend_something_stay() -> None:
    useless, good = finding("BD301", 1, replaced(1, "a", "c")), finding("BD402", 2, replaced(2, "b", "d"))

    def judge(source: Project, codes: Collection[str]) -> FileReport:
        return report_of(*(() if "d = 2" in source.text else (good,)), useless)

    result = repair(SOURCE, report_of(useless, good), judge)
    assert result.fix is not None
    assert result.fix.status == "partial"
    assert result.fix.edits == good.fix.edits
    assert [f.fix.status for f in result.findings] == ["offered", "verified"]


def test_a_fix_that_passes_only_where_it_was_searched_is_refused() -> None:
    fault = finding("BD301", 1, replaced(1, "a", "c"))
    result = repair(
        SOURCE,
        report_of(fault),
        lambda source, codes: report_of(),
        confirm=lambda source, codes: report_of(finding("BD300", 1, None)),
        search_seconds=0.2,
    )
    assert result.fix is not None
    assert result.fix.status == "none"
    assert result.findings[0].fix.status == "offered"


def test_two_fixes_that_undo_each_other_are_refused() -> None:
    source = Source("net.py", "axis = 0\n")
    zero, one = Edit(Position("net.py", 1, 8, 1, 9), "1"), Edit(Position("net.py", 1, 8, 1, 9), "0")

    def judge(changed: Project, codes: Collection[str]) -> FileReport:
        return report_of(finding("BD301", 1, zero) if "= 0" in changed.text else finding("BD102", 1, one))

    result = repair(source, report_of(finding("BD301", 1, zero)), judge, search_seconds=2)
    assert result.fix is not None
    assert result.fix.status == "none"


def test_a_fix_with_which_a_parameter_or_its_verdict_is_lost_is_refused() -> None:
    def network(*verdicts: str) -> Network:
        return Network(
            tuple(
                ParameterVerdict(f"W{i}", 1, (2, 2), ("", ""), None, verdict, None, None, "")  # type: ignore[arg-type]
                for i, verdict in enumerate(verdicts)
            )
        )

    fault = finding("BD301", 1, replaced(1, "a", "c"))
    before = replace(report_of(fault), network=network("wrong", "right"))
    for after in (
        network("wrong", "unknown"),
        network("right"),
        network("unknown", "right"),
        network("wrong", "right"),
    ):
        result = repair(SOURCE, before, lambda source, codes, after=after: replace(report_of(), network=after))  # type: ignore[misc]
        assert result.fix is not None
        assert result.fix.status == "none"
    result = repair(SOURCE, before, lambda source, codes: replace(report_of(), network=network("right", "right")))
    assert result.fix is not None
    assert result.fix.status == "verified"


def measured(verdict: str, error: float, *findings: Finding) -> FileReport:
    """A report on a program with one backward line, and what was measured at it."""
    line = LineVerdict("net.py", 1, "a", "backward", (2, 2), ("", ""), verdict, "", error)  # type: ignore[arg-type]
    return replace(report_of(*findings), lines=(line,))


TABLE = Source("net.py", "a = x - y\n")


def judged(after: FileReport, fault: Finding) -> Callable[[Project, Collection[str]], FileReport]:
    """A judge that says one thing of the program as it stands, and another of it with any edit."""
    return lambda source, codes: measured("wrong", 0.5, fault) if "x - y" in source.text else after


def test_an_edit_of_the_table_after_which_a_line_is_measured_to_be_right_is_taken() -> None:
    fault = finding("BD301", 1, None)
    judge = judged(measured("right", 1e-9), fault)
    result = repair(TABLE, judge(Project.of(TABLE), ()), judge, search_seconds=5)
    assert result.fix is not None
    assert result.fix.status == "verified"


def test_an_edit_of_the_table_that_only_silences_the_rule_is_refused() -> None:
    fault = finding("BD301", 1, None)
    for error in (0.5, 1e-9):
        # Nothing is measured to be right that was not before, whatever is said of the line.
        before = measured("wrong", error, fault)
        judge = judged(measured("right", error), fault)
        result = repair(TABLE, before, judge, search_seconds=5)
        assert result.fix is not None
        assert result.fix.status == "none"
        assert not result.findings[0].fix.edits


def test_an_edit_of_the_table_that_changes_nothing_of_what_is_computed_is_refused() -> None:
    fault = finding("BD301", 1, None)
    judge = judged(measured("right", 1e-9), fault)
    before = judge(Project.of(TABLE), ())
    result = repair(TABLE, before, judge, is_alike=lambda project: True, search_seconds=5)
    assert result.fix is not None
    assert result.fix.status == "none"


def test_a_gradient_that_is_right_up_to_another_number_on_other_images_is_not_right() -> None:
    def network(factor: str) -> FileReport:
        parameter = ParameterVerdict("W", 1, (2, 2), ("", ""), "dW", "right", 1e-9, factor, "")
        return replace(report_of(), network=Network((parameter,)))

    fault = finding("BD301", 1, replaced(1, "a", "c"))
    wrong = ParameterVerdict("W", 1, (2, 2), ("", ""), "dW", "wrong", 0.5, None, "")
    before = replace(report_of(fault), network=Network((wrong,)))
    for elsewhere, status in (("1/N", "verified"), ("0.0213", "none")):
        here = "1/N" if status == "verified" else "0.0471"
        result = repair(
            SOURCE,
            before,
            lambda source, codes, here=here: network(here),  # type: ignore[misc]
            confirm=lambda source, codes, there=elsewhere: network(there),  # type: ignore[misc]
            search_seconds=0.2,
        )
        assert result.fix is not None
        assert result.fix.status == status


def test_a_fault_that_another_one_hides_is_mended_too() -> None:
    first, second = finding("BD102", 1, replaced(1, "a", "c")), finding("BD301", 2, replaced(2, "b", "d"))

    def judge(source: Project, codes: Collection[str]) -> FileReport:
        if "a = 1" in source.text:
            return report_of(first)
        return report_of() if "d = 2" in source.text else report_of(second)

    result = repair(SOURCE, report_of(first), judge, search_seconds=5)
    assert result.fix is not None
    assert result.fix.status == "verified"
    assert Project.of(SOURCE).edited(result.fix.edits).text == "c = 1\nd = 2\n"


def test_edits_that_turn_out_to_be_needless_are_left_out() -> None:
    cause, symptom = finding("BD102", 1, replaced(1, "a", "c")), finding("BD301", 2, replaced(2, "b", "d"))

    def judge(source: Project, codes: Collection[str]) -> FileReport:
        return report_of() if "c = 1" in source.text else report_of(cause, symptom)

    result = repair(SOURCE, report_of(cause, symptom), judge, search_seconds=5)
    assert result.fix is not None
    assert result.fix.status == "verified"
    assert result.fix.edits == cause.fix.edits
    assert [f.fix.status for f in result.findings] == ["verified", "verified"]


def test_the_closest_candidate_is_described_and_not_applied() -> None:
    source = Source("net.py", "a = x - y\n")
    fault = finding("BD301", 1, None)

    def judge(changed: Project, codes: Collection[str]) -> FileReport:
        found = fault if "x - y" in changed.text else finding("BD402", 1, None)
        return report_of(*([found] if not codes or found.code in codes else []))

    result = repair(source, report_of(fault), judge, search_seconds=5)
    assert result.fix is not None
    assert result.fix.status == "none"
    assert not result.fix.edits
    assert "(then BD402 at line 1)" in result.findings[0].fix.summary
    assert not result.findings[0].fix.edits


def test_only_what_is_asked_for_is_mended_and_nothing_else_may_be_new() -> None:
    first, second = finding("BD102", 1, replaced(1, "a", "c")), finding("BD301", 2, replaced(2, "b", "d"))

    def judge(source: Project, codes: Collection[str]) -> FileReport:
        return report_of(*([first] if "a = 1" in source.text else []), *([second] if "b = 2" in source.text else []))

    result = repair(SOURCE, report_of(first, second), judge, wanted=lambda finding: finding.code == "BD301")
    assert result.fix is not None
    assert result.fix.edits == second.fix.edits


def test_warnings_are_mended_on_request_alone() -> None:
    warning = replace(finding("BD703", 1, replaced(1, "a", "c")), severity="warning")

    def judge(source: Project, codes: Collection[str]) -> FileReport:
        return replace(report_of(*([warning] if "a = 1" in source.text else [])), verdict="healthy")

    before = replace(report_of(warning), verdict="healthy")
    assert repair(SOURCE, before, judge).fix is None
    result = repair(SOURCE, before, judge, severities=("error", "warning"))
    assert result.fix is not None
    assert result.fix.status == "verified"


def offered(path: Path, *edits: Edit) -> FileReport:
    """A report on a file whose fix are these edits."""
    source = open_project(path)
    for part in {edit.position.path for edit in edits}:
        source.find_file(part)
    fix = ProgramFix("verified", "", None, None, edits, source.digest(edit.position.path for edit in edits))
    return replace(report_of(), path=str(path), fix=fix)


@pytest.mark.parametrize(
    "data",
    [
        b"a = 1\r\nb = 2\r\n",
        b"a = 1\rb = 2\r",
        b"\xef\xbb\xbfa = 1\n# caf\xc3\xa9\tb\n",
        b"# -*- coding: latin-1 -*-\na = 1  # caf\xe9\n",
        b"a = 1  # no end of line",
        b"a = 1\n\x0c\nb = 2   \n\n\n",
    ],
    ids=["crlf", "cr", "bom", "latin-1", "no-end", "form-feed"],
)
def test_all_bytes_outside_a_fix_stay(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_bytes(data)
    line = 2 if data.startswith(b"#") else 1
    patching.write(offered(path, Edit(Position(str(path), line, 5, line, 6), "100")))
    assert path.read_bytes() == data.replace(b"= 1", b"= 100")


def test_a_notebook_keeps_its_outputs_and_everything_else(tmp_path: Path) -> None:
    path = tmp_path / "net.ipynb"
    shutil.copy(networks.FOLDER.parent / "notebooks" / "faulty.ipynb", path)
    before = path.read_bytes()
    cell, line, text = next(
        (part.cell, number, part.line(number))
        for part in open_project(path).main
        for number in range(1, part.text.count("\n") + 1)
        if part.line(number).startswith("import ")
    )
    patching.write(offered(path, Edit(Position(str(path), line, 1, line, 7, cell), "import ")))
    old, new = f'"{text}'.encode(), f'"{text.replace("import", "import ", 1)}'.encode()
    assert before.count(old) == 1
    assert path.read_bytes() == before.replace(old, new)


def test_of_several_files_all_are_written_or_none(tmp_path: Path) -> None:
    main, module = tmp_path / "net.py", tmp_path / "layers.py"
    main.write_text("a = 1\n")
    module.write_text("b = 2\n")
    edits = [Edit(Position(str(path), 1, 5, 1, 6), "3") for path in (main, module)]
    report = offered(main, *edits)
    assert len(patching.write(report)) == 2
    assert (main.read_text(), module.read_text()) == ("a = 3\n", "b = 3\n")
    report = offered(main, *edits)
    with pytest.MonkeyPatch.context() as patch:

        def replace_once(old: str, new: str) -> None:
            if str(new) == str(main) and not str(old).endswith(".orig"):
                raise PermissionError(13, "Permission denied")
            os.rename(old, new)

        patch.setattr(patching.os, "replace", replace_once)
        with pytest.raises(UsageError, match="nothing was written"):
            patching.write(report)
    assert (main.read_text(), module.read_text()) == ("a = 3\n", "b = 3\n")
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]


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
    edits = [replace(e, position=replace(e.position, path=str(link))) for e in report.fix.edits] if report.fix else []
    [(kept, undone)] = patching.write(offered(link, *edits))
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    assert Path(os.path.abspath(kept)).read_bytes() == before
    assert path.read_bytes() != before
    # What is said to undo it leaves the link a link.
    os.replace(kept, undone)
    assert path.read_bytes() == before
    assert link.is_symlink()


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
