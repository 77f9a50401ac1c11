"""Programs in several files and notebooks: which files belong together, where findings point, what edits change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import networks
import pytest

from backprop_doctor import checking, confinement, notebook, patching, python2
from backprop_doctor.diagnosis import open_case
from backprop_doctor.errors import CannotCheckError, SourceError
from backprop_doctor.records import Edit, FileReport, Position
from backprop_doctor.source import Source, open_project

FIXTURES = Path(__file__).parent.parent / "fixtures"


def found(report: FileReport) -> set[tuple[str, int | None, int, str]]:
    return {
        (Path(f.position.path).name, f.position.cell, f.position.line, f.code)
        for f in report.findings
        if f.severity == "error"
    }


def a_notebook(path: Path, *cells: str, **more: object) -> Path:
    code = [{"cell_type": "code", "metadata": {}, "outputs": [], "source": cell, **more} for cell in cells]
    path.write_text(json.dumps({"cells": code, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}), encoding="utf-8")
    return path


def reason(path: Path) -> str:
    with pytest.raises(CannotCheckError) as caught:
        networks.diagnosed(path)
    return str(caught.value)


# -- several files -----------------------------------------------------------------------------------------


def test_findings_lines_and_parameters_point_into_the_file_they_stand_in() -> None:
    report = networks.diagnosed(FIXTURES / "projects" / "several_files" / "main.py")
    assert found(report) == {
        ("activations.py", None, 9, "BD102"),
        ("activations.py", None, 10, "BD102"),
        ("network.py", None, 17, "BD301"),
    }
    assert {Path(line.path).name for line in report.lines if line.role == "backward"} == {"network.py"}
    assert report.network is not None
    assert {Path(p.path).name for p in report.network.parameters} == {"network.py"}
    assert {Path(path).name for path in report.modules} == {"network.py", "__init__.py", "activations.py", "labels.py"}


def test_one_fix_changes_several_files_and_nothing_else_in_them(tmp_path: Path) -> None:
    folder = tmp_path / "several_files"
    shutil.copytree(FIXTURES / "projects" / "several_files", folder)
    report = networks.diagnosed(folder / "main.py", fix=True)
    assert report.fix is not None
    assert report.fix.status == "verified"
    assert (report.fix.diff or "").count("--- ") == 2
    before = {path: path.read_text().splitlines() for path in folder.rglob("*.py")}
    kept = patching.write(report)
    assert {Path(path).name for _, path in kept} == {"activations.py", "network.py"}
    changed = {
        (path.name, number)
        for path, lines in before.items()
        for number, (old, new) in enumerate(zip(lines, path.read_text().splitlines(), strict=True), 1)
        if old != new
    }
    assert changed == {("activations.py", 9), ("activations.py", 10), ("network.py", 17)}
    assert found(networks.diagnosed(folder / "main.py")) == set()


def test_nothing_is_written_when_one_of_the_files_has_changed(tmp_path: Path) -> None:
    folder = tmp_path / "several_files"
    shutil.copytree(FIXTURES / "projects" / "several_files", folder)
    report = networks.diagnosed(folder / "main.py", fix=True)
    (folder / "network.py").write_text((folder / "network.py").read_text() + "\n")
    with pytest.raises(checking.UsageError, match="has changed since"):
        patching.write(report)
    assert not list(folder.rglob("*.orig"))


def test_folders_without_a_file_of_their_own_are_packages_within_packages(tmp_path: Path) -> None:
    text = (FIXTURES / "networks" / "forms" / "two_forward_copies.py").read_text(encoding="utf-8")
    for folder in ("lib", "lib/one", "lib/one/two", "lib/one/two/three"):
        (tmp_path / folder).mkdir()
    (tmp_path / "lib/settings.py").write_text("STEPS = 12\n", encoding="utf-8")
    (tmp_path / "lib/one/two/three/rate.py").write_text("RATE = 0.1\n", encoding="utf-8")
    path = tmp_path / "lib" / "one" / "main.py"
    path.write_text(f"from lib.one.two.three.rate import RATE\n{text}", encoding="utf-8")
    assert networks.diagnosed(path).verdict == "healthy"


def test_a_file_of_a_package_finds_its_siblings_and_the_folder_above() -> None:
    report = networks.diagnosed(FIXTURES / "projects" / "package" / "net" / "run.py")
    assert report.verdict == "healthy"
    assert {Path(path).name for path in report.modules} == {"__init__.py", "dense.py", "numbers.py"}


def test_sites_have_the_same_numbers_in_every_program_made_from_the_same_files() -> None:
    path = str(FIXTURES / "projects" / "several_files" / "main.py")
    with confinement.for_path(path) as surroundings:
        sites = [open_case(open_project(path), surroundings).program.sites for _ in range(2)]
    first, second = ([(s.id, s.source.name, s.line, s.kind) for s in some] for some in sites)
    assert first == second


def test_a_module_that_does_not_parse_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("import helper\n")
    (tmp_path / "helper.py").write_text("x = 1\ny = (\n")
    assert "helper.py:2:5: syntax error" in reason(tmp_path / "main.py")


def test_of_a_folder_modules_are_not_checked_by_themselves() -> None:
    folder = FIXTURES / "projects" / "several_files"
    assert [Path(path).name for path in checking.programs([str(folder)])] == ["main.py"]


def test_a_file_that_nobody_imports_is_checked_and_so_is_a_notebook(tmp_path: Path) -> None:
    (tmp_path / "alone.py").write_text("def f(x):\n    return x\n")
    (tmp_path / "used.py").write_text("def g(x):\n    return x\n")
    (tmp_path / "main.py").write_text("from used import g\nfor i in range(3):\n    g(i)\n")
    a_notebook(tmp_path / "book.ipynb", "x = 1")
    names = [Path(path).name for path in checking.programs([str(tmp_path)])]
    assert names == ["alone.py", "book.ipynb", "main.py"]


# -- notebooks ---------------------------------------------------------------------------------------------


def test_findings_in_a_notebook_count_code_cells_and_lines_within_the_cell() -> None:
    report = networks.diagnosed(FIXTURES / "notebooks" / "faulty.ipynb")
    assert found(report) == {("faulty.ipynb", 5, 13, "BD301")}
    assert all(line.cell == 5 for line in report.lines if line.role == "backward")
    assert any("last run in another order: cell 4 as number 1" in remark for remark in report.remarks)


def test_a_fix_changes_one_line_of_a_notebook_and_no_other_byte(tmp_path: Path) -> None:
    path = tmp_path / "faulty.ipynb"
    shutil.copy(FIXTURES / "notebooks" / "faulty.ipynb", path)
    before = path.read_bytes().split(b"\n")
    report = networks.diagnosed(path, fix=True)
    patching.write(report)
    after = path.read_bytes().split(b"\n")
    assert len(before) == len(after)
    [(old, new)] = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert old.replace(b"axis=1", b"axis=0") == new
    assert report.fix is not None
    assert path.name in (report.fix.diff or "")


@pytest.mark.parametrize("indent", [None, 1, 4])
@pytest.mark.parametrize("as_list", [True, False])
def test_lines_may_come_and_go_in_a_cell_while_the_rest_keeps_its_form(indent: int | None, *, as_list: bool) -> None:
    text = "a = 1\nb = 'ü'\nc = 3"
    source = text.splitlines(keepends=True) if as_list else text
    cell = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source}
    raw = json.dumps({"cells": [cell, cell], "metadata": {}}, indent=indent)
    book = notebook.parse(raw.encode(), "book.ipynb")
    for changed in ("a = 1\nc = 3", "a = 1\nnew = 'é'\nb = 'ü'\nc = 3\n", "", "d = 4"):
        again = json.loads(book.rewritten({2: changed}))
        assert "".join(again["cells"][1]["source"]) == changed
        assert again["cells"][0]["source"] == source
    assert book.rewritten({2: text}) == raw


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("%matplotlib inline\nx = 1", "pass\nx = 1"),
        ("%%time\nx = 1", "pass\nx = 1"),
        ("%%html\n<b>bold</b>", "pass\npass"),
        ("!pip install x \\\n  y\nx = 1", "pass\n\nx = 1"),
        ("files = !ls\nx = 1", "files = []\nx = 1"),
        ("np.dot?\nx = 1", "pass\nx = 1"),
        ("?np.dot\nx = 1", "pass\nx = 1"),
        ("if True:\n    %time f(3)", "if True:\n    if 1: f(3)"),
        ("pip install x\ny = 2", "pass\ny = 2"),
        ("x = (7\n% 4)\n!ls", "x = (7\n% 4)\npass"),
        ('s = """\n%time\n!ls\n"""\n%who', 's = """\n%time\n!ls\n"""\npass'),
    ],
)
def test_magics_do_nothing_and_move_no_line(text: str, code: str) -> None:
    assert notebook.as_python(text) == code


def test_a_cell_that_is_indented_runs_and_keeps_its_columns() -> None:
    source = Source("book.ipynb", "    x = 1\n    y = x + 2\n", cell=1)
    value = source.tree.body[1].value  # type: ignore[attr-defined]
    assert source.position(value) == Position("book.ipynb", 2, 9, 2, 14, 1)
    assert source.segment(value) == "x + 2"
    assert source.apply([Edit(source.position(value), "x - 2")]) == "    x = 1\n    y = x - 2\n"


def test_broken_json_is_reported_with_its_position(tmp_path: Path) -> None:
    path = tmp_path / "book.ipynb"
    path.write_text('{\n "cells": [\n  oops\n ]\n}')
    with pytest.raises(SourceError, match=r"book\.ipynb:3:3: not a notebook: Expecting value"):
        open_project(path)


def test_a_name_that_no_cell_defines_is_named_and_one_defined_below_too(tmp_path: Path) -> None:
    gone = a_notebook(tmp_path / "gone.ipynb", "import numpy as np", "x = np.dot(weights, 2)")
    assert "cell 2:1: no cell of the notebook defines weights" in reason(gone)
    below = a_notebook(tmp_path / "below.ipynb", "x = 2 * rate", "rate = 0.1")
    assert "cell 1:1: no cell before this one defines rate; cell 2 below does" in reason(below)


def test_a_cell_that_raises_does_not_keep_the_ones_below_from_running(tmp_path: Path) -> None:
    healthy = (networks.FOLDER / "thread_corrected.py").read_text(encoding="utf-8")
    report = networks.diagnosed(a_notebook(tmp_path / "book.ipynb", "1 / 0", healthy))
    assert report.verdict == "healthy"
    assert any(r.startswith("cell 1, line 1 stopped with ZeroDivisionError") for r in report.remarks)


# -- Python 2 ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not python2.is_available(), reason="lib2to3 left the standard library with Python 3.13")
def test_python_2_is_read_as_python_3_line_by_line() -> None:
    source = Source("old.py", "for i in xrange(3):\n    print 'epoch', i\n    x = i * 0.5\n")
    assert source.is_translated
    assert source.code == "for i in range(3):\n    print('epoch', i)\n    x = i * 0.5\n"
    assert source.apply([Edit(Position("old.py", 3, 9, 3, 10), "j")]).endswith("x = j * 0.5\n")
    with pytest.raises(ValueError, match="translated from Python 2"):
        source.apply([Edit(Position("old.py", 2, 5, 2, 10), "x")])


@pytest.fixture
def without_lib2to3(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(python2, "is_available", lambda: False)
    python2.as_python_3.cache_clear()
    yield
    python2.as_python_3.cache_clear()


@pytest.mark.usefixtures("without_lib2to3")
def test_python_2_is_recognised_where_it_cannot_be_translated(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"old\.py:2:5: .*it looks like Python 2; 2to3 -w translates it"):
        Source("old.py", "for i in xrange(3):\n    print 'epoch', i\n").parse()
    path = tmp_path / "names.py"
    path.write_text("x = 1\nfor epoch in xrange(10):\n    print(epoch)\n")
    assert "names.py:2: the program stopped with NameError: name 'xrange' is not defined (it looks like" in reason(path)
