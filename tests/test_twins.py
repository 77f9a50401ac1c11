"""Each file is right as it stands; with the text after ``wrong:`` in place of a line, that function is found wrong."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from backprop_doctor import check
from backprop_doctor.records import FileReport

FOLDER = Path(__file__).parents[1] / "fixtures" / "pairs" / "twins"
MARK = "  # wrong: "
# Nothing in these can be called: what has to be seen is that nothing is called wrong.
WITHOUT_LAYERS = {"no_gradients"}


def plain(path: Path) -> list[str]:
    return [line.partition(MARK)[0] for line in path.read_text(encoding="utf-8").splitlines()]


def twins() -> list[tuple[Path, int, str]]:
    return [
        (path, number, text)
        for path in sorted(FOLDER.glob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for text in line.split(MARK)[1:]
    ]


def written(folder: Path, lines: list[str]) -> Path:
    path = folder / "layers.py"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def errors(report: FileReport) -> set[int]:
    return {finding.position.line for finding in report.findings if finding.severity == "error"}


def around(lines: list[str], number: int) -> range:
    """The lines of the innermost function around one of them."""
    functions = [node for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, ast.FunctionDef)]
    inside = [f for f in functions if f.lineno <= number <= (f.end_lineno or 0)]
    found = max(inside, key=lambda f: f.lineno)
    return range(found.lineno, (found.end_lineno or 0) + 1)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_what_is_right_is_called_right(path: Path, tmp_path: Path) -> None:
    report = check(written(tmp_path, plain(path))).files[0]
    assert not errors(report)
    if path.stem not in WITHOUT_LAYERS:
        assert report.verdict == "healthy"
        assert not report.unchecked


@pytest.mark.parametrize(("path", "number", "text"), twins(), ids=lambda value: getattr(value, "stem", str(value)))
def test_a_fault_is_found_in_the_function_that_has_it(path: Path, number: int, text: str, tmp_path: Path) -> None:
    lines = plain(path)
    indent = lines[number - 1][: len(lines[number - 1]) - len(lines[number - 1].lstrip())]
    lines[number - 1] = indent + text
    found = errors(check(written(tmp_path, lines)).files[0])
    assert found
    assert found <= set(around(lines, number))
