"""The user's files: text, syntax tree and positions of each, and all those of one program together.

A `Source` is one stretch of code with lines of its own: a Python file, or one cell of a notebook.  A `Project`
is what a program consists of: the sources that run as ``__main__``, and the modules of the user's it imports.
"""

from __future__ import annotations

import ast
import bisect
import difflib
import hashlib
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from backprop_doctor import notebook, python2
from backprop_doctor.errors import SourceError, UsageError
from backprop_doctor.records import Edit, Position

__all__ = ["COUNTS", "Project", "Source", "counts_in", "open_project", "read"]

Sized = Literal["", "divisors", "all"]

PYTHON_2 = "it looks like Python 2"
# How many images the usual sets have, and how many times those for training and for testing that is.
COUNTS = {60_000: (1, 0), 50_000: (1, 0), 10_000: (0, 1), 70_000: (1, 1), 42_000: (1, 0), 28_000: (0, 1)}
STATEMENTS_OF_PYTHON_2 = re.compile(
    r"^\s*(print\s+[^\s=(.,\[]|print\s*$|exec\s+[\"'\w]|raise\s+\w+\s*,|except\s+[\w.]+\s*,\s*\w+\s*:)|[^\w\s]\s*<>\s*\w|\b0[0-7]+L?\b|\b\d+L\b"
)
LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


@dataclass(frozen=True)
class Source:
    """The text of one file or one cell, and code to run after it.

    ``encoding`` is kept so that edits change nothing else, ``digest`` is the SHA-256 of the file as it was read.
    """

    path: str
    text: str
    encoding: str = "utf-8"
    call: str = ""
    cell: int | None = None
    document: notebook.Notebook | None = field(default=None, repr=False, compare=False)
    digest: str = field(default="", repr=False, compare=False)

    _full: str = field(init=False, repr=False, compare=False)
    _lines: list[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        separator = "" if not self.call or self.text.endswith("\n") else "\n"
        full = self.text + separator + self.call
        object.__setattr__(self, "_full", full)
        # Only \n, \r and \r\n end a line for Python; str.splitlines knows more of them.
        object.__setattr__(self, "_lines", LINE.findall(full))

    @property
    def name(self) -> str:
        """What the code is compiled under: the file, and the cell in it."""
        return _name(self.path, self.cell)

    @cached_property
    def code(self) -> str:
        """The text as plain Python 3, line by line the same.

        Magics and shell commands of a cell do nothing, and what all its lines are indented by is taken away; Python 2
        is translated where that can be done.
        """
        return python2.as_python_3(self._plain)

    @cached_property
    def _plain(self) -> str:
        if self.cell is None:
            return self.text
        lines = [line.removeprefix(self._indentation) for line in self.text.splitlines(keepends=True)]
        return notebook.as_python("".join(lines))

    @cached_property
    def _indentation(self) -> str:
        return "" if self.cell is None else notebook.indentation(self.text)

    @property
    def is_translated(self) -> bool:
        """Whether the text is Python 2, read as Python 3."""
        return self.code != self._plain

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree that nodes and positions refer to."""
        return self.parse()

    def parse(self) -> ast.Module:
        """A fresh syntax tree.

        Raises
        ------
        SourceError
            If the text does not parse, with the line where parsing stopped.
        UsageError
            If the code to run after it does not parse.
        """
        try:
            tree = ast.parse(self.code, filename=self.name)
        except SyntaxError as error:
            line, column = error.lineno or 1, error.offset or 1
            hint = f" ({_hint_at_python_2()})" if _looks_like_python_2(self.code, error) else ""
            raise SourceError(f"{self.name}:{line}:{column}: syntax error: {error.msg}{hint}") from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise SourceError(f"{self.name}: cannot be parsed: {error}") from error
        if self.call:
            tree.body += self._call().body
        return tree

    def _call(self) -> ast.Module:
        try:
            called = ast.parse(self.call, filename="--call")
        except SyntaxError as error:
            raise UsageError(f"--call {self.call!r} is not Python: {error.msg}") from error
        return ast.increment_lineno(called, len(self._lines) - len(LINE.findall(self.call)))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the file."""
        return self.digest or hashlib.sha256(self.text.encode(self.encoding)).hexdigest()

    def line(self, number: int) -> str:
        """Text of a 1-based line without its end."""
        return self._lines[number - 1].rstrip("\r\n") if 0 < number <= len(self._lines) else ""

    def whole_line(self, number: int) -> str:
        """Text of a 1-based line with its end."""
        return self._lines[number - 1] if 0 < number <= len(self._lines) else ""

    def position(self, node: ast.AST) -> Position:
        """Where a node stands, with columns counted in characters."""
        start, end = _span(node)
        return Position(self.path, start[0], self._column(*start) + 1, end[0], self._column(*end) + 1, self.cell)

    def segment(self, node: ast.AST) -> str:
        """The source text of a node."""
        text = self._segments.get(node)
        if text is None:
            position = self.position(node)
            start = self.offset(position.line, position.column)
            text = self._segments[node] = self._full[start : self.offset(position.end_line, position.end_column)]
        return text

    def text_at(self, position: Position) -> str:
        """The text between the ends of a position."""
        start = self.offset(position.line, position.column)
        return self.text[start : self.offset(position.end_line, position.end_column)]

    def unwrapped(self, position: Position) -> Position:
        """The place with a pair of parentheses around it on the same line, if they only group and call nothing."""
        line = self.line(position.line)
        before, after = line[: position.column - 1], line[position.end_column - 1 :]
        if position.line != position.end_line or not before.endswith("(") or not after.startswith(")"):
            return position
        word = re.search(r"[\w\])}'\"]\s*$", before[:-1])
        is_called = word is not None and not re.search(r"\b(return|in|not|and|or|if|else|is)\s*$", before[:-1])
        if is_called:
            return position
        return replace(position, column=position.column - 1, end_column=position.end_column + 1)

    def offset(self, line: int, column: int) -> int:
        """Offset in ``text`` of a 1-based line and column."""
        return self._starts[line - 1] + column - 1

    def place(self, offset: int) -> tuple[int, int]:
        """The 1-based line and column of an offset in ``text``."""
        line = bisect.bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def apply(self, edits: tuple[Edit, ...] | list[Edit]) -> str:
        """The text with every edit made; identical edits count once, overlapping ones are refused."""
        if self.is_translated and any(self._is_changed(edit) for edit in edits):
            raise ValueError("the line was translated from Python 2")
        spans = sorted(
            {
                (
                    self.offset(edit.position.line, edit.position.column),
                    self.offset(edit.position.end_line, edit.position.end_column),
                    edit.replacement,
                )
                for edit in edits
            }
        )
        pieces, last = [], 0
        for start, end, replacement in spans:
            if start < last:
                raise ValueError("edits overlap")
            pieces += [self.text[last:start], replacement]
            last = end
        return "".join([*pieces, self.text[last:]])

    def _is_changed(self, edit: Edit) -> bool:
        """Whether an edit touches a line that reads otherwise in the translation."""
        code = LINE.findall(self.code)
        numbers = range(edit.position.line, edit.position.end_line + 1)
        return any(number <= len(code) and code[number - 1] != self.whole_line(number) for number in numbers)

    @cached_property
    def _starts(self) -> list[int]:
        starts = [0]
        for line in self._lines:
            starts.append(starts[-1] + len(line))
        return starts

    @cached_property
    def _segments(self) -> dict[ast.AST, str]:
        return {}

    def _column(self, line: int, byte_offset: int) -> int:
        text = self.line(line)
        byte_offset += len(self._indentation) if text.startswith(self._indentation) else 0
        return byte_offset if text.isascii() else len(text.encode()[:byte_offset].decode(errors="ignore"))


def _span(node: ast.AST) -> tuple[tuple[int, int], tuple[int, int]]:
    return (
        (node.lineno, node.col_offset),  # type: ignore[attr-defined]
        (node.end_lineno, node.end_col_offset),  # type: ignore[attr-defined]
    )


def _name(path: str, cell: int | None) -> str:
    return path if cell is None else f"{path}:cell {cell}"


def _hint_at_python_2() -> str:
    if python2.is_available():
        return f"{PYTHON_2}, and cannot be translated"
    return f"{PYTHON_2}; 2to3 -w translates it, as does this check where Python still has lib2to3, up to 3.12"


def _looks_like_python_2(code: str, error: SyntaxError) -> bool:
    message = error.msg or ""
    line = error.text or (code.splitlines() or [""])[min((error.lineno or 1), code.count("\n") + 1) - 1]
    return "print" in message or "exec" in message or bool(STATEMENTS_OF_PYTHON_2.search(line))


def counts_in(tree: ast.AST, sized: Sized) -> list[ast.Constant]:
    """Where numbers of images stand: all of them, or those that something is divided by."""
    nodes = list(ast.walk(tree))
    found = [n for n in nodes if isinstance(n, ast.Constant) and type(n.value) is int and n.value in COUNTS]
    if sized != "divisors" or not found:
        return found if sized else []
    # A number of turns, and the 10000 of a rate, are something else.
    counting = [n for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "range"]
    counted = {n.id for call in counting for n in ast.walk(call) if isinstance(n, ast.Name)}
    divisors: set[int] = set()
    for node in nodes:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and not isinstance(node.left, ast.Constant):
            divisors.add(id(node.right))
        elif isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Div):
            divisors.add(id(node.value))
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if names and not counted & {*names} and any(_is_divisor(name, nodes) for name in names):
                divisors.add(id(node.value))
    return [node for node in found if id(node) in divisors]


def _is_divisor(name: str, nodes: list[ast.AST]) -> bool:
    """Whether something is divided by a variable."""
    return any(
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Div)
        and isinstance(node.right, ast.Name)
        and node.right.id == name
        for node in nodes
    )


class Project:
    """The sources of one program.

    Parameters
    ----------
    main : sequence of Source
        What runs as ``__main__``, one after the other: a file, or the cells of a notebook.
    modules : mapping of str to Source, optional
        Modules of the user's by path, in the order of their import; more are read when they are imported.
    remarks : sequence of str
        What the report has to say about the sources.
    sized : str
        Which numbers of images that the program writes out stand for as many as it is served: none, those it
        divides by, or all.
    """

    def __init__(
        self,
        main: Sequence[Source],
        modules: Mapping[str, Source] | None = None,
        remarks: Sequence[str] = (),
        *,
        sized: Sized = "",
    ) -> None:
        self.main = tuple(main)
        self.modules: dict[str, Source] = dict(modules or {})
        self.remarks = tuple(remarks)
        self.sized = sized
        self._homes: dict[int, Source] = {}
        self._mapped: set[int] = set()

    @classmethod
    def of(cls, source: Source | Project) -> Project:
        """A project of a single source."""
        return source if isinstance(source, Project) else cls([source])

    @property
    def path(self) -> str:
        """What was given to be checked."""
        return self.main[0].path

    @property
    def is_notebook(self) -> bool:
        """Whether the program is a notebook."""
        return self.main[0].cell is not None

    @property
    def sources(self) -> tuple[Source, ...]:
        """All sources read so far, those of ``__main__`` first."""
        return (*self.main, *self.modules.values())

    @property
    def tree(self) -> ast.Module:
        """All statements of the program, as one tree with the nodes of its sources."""
        if len(self.sources) == 1:
            return self.main[0].tree
        return ast.Module([statement for source in self.sources for statement in source.tree.body], [])

    def module(self, path: str) -> Source:
        """The source of a module, read when it is asked for first."""
        if path not in self.modules:
            self.modules[path] = read(path)
        return self.modules[path]

    def source_of(self, node: ast.AST) -> Source:
        """The source a node of a syntax tree belongs to."""
        if id(node) not in self._homes:
            for source in self.sources:
                if id(source) not in self._mapped:
                    self._mapped.add(id(source))
                    self._homes.update((id(part), source) for part in ast.walk(source.tree))
        return self._homes.get(id(node), self.main[0])

    def find(self, path: str, cell: int | None = None) -> Source:
        """The source of a file or of a cell; a file that was not read yet is read as a module."""
        for source in self.sources:
            if (source.path, source.cell) == (path, cell):
                return source
        return self.module(path)

    def position(self, node: ast.AST) -> Position:
        """Where a node stands."""
        return self.source_of(node).position(node)

    def segment(self, node: ast.AST) -> str:
        """The source text of a node."""
        return self.source_of(node).segment(node)

    @property
    def text(self) -> str:
        """The text of the first source."""
        return self.main[0].text

    def line(self, number: int) -> str:
        """A line of the first source, without its end."""
        return self.main[0].line(number)

    def whole_line(self, number: int) -> str:
        """A line of the first source, with its end."""
        return self.main[0].whole_line(number)

    def calling(self, call: str) -> Project:
        """The same program with code to run after it."""
        last = replace(self.main[-1], call=call)
        return Project((*self.main[:-1], last), self.modules, self.remarks, sized=self.sized)

    def to_size(self, sized: Sized) -> Project | None:
        """The program with its numbers of images as many as it is served; None if it writes out no such number."""
        nodes = (node for source in self.sources for node in counts_in(source.tree, sized))
        found = {node.value for node in nodes if isinstance(node.value, int)}
        if self.sized or not found:
            return None
        named = " and ".join(map(str, sorted(found, reverse=True)))
        remark = f"{named} in the program stood for the number of images that it was served"
        return Project(self.main, self.modules, (*self.remarks, remark), sized=sized)

    def edited(self, edits: Iterable[Edit]) -> Project:
        """The program with every edit made in the source it belongs to.

        Raises
        ------
        ValueError
            If edits overlap.
        """
        of: dict[tuple[str, int | None], list[Edit]] = {}
        for edit in edits:
            of.setdefault((edit.position.path, edit.position.cell), []).append(edit)
        for path, cell in of:
            self.find(path, cell)

        def changed(source: Source) -> Source:
            own = of.get((source.path, source.cell))
            return replace(source, text=source.apply(own)) if own else source

        modules = {path: changed(source) for path, source in self.modules.items()}
        return Project([changed(source) for source in self.main], modules, self.remarks, sized=self.sized)

    def parse(self) -> None:
        """Raise `SourceError` where a source does not parse."""
        for source in self.sources:
            source.tree  # noqa: B018

    @property
    def key(self) -> tuple[str, ...]:
        """What tells two versions of a program apart."""
        texts = tuple(text for source in self.sources for text in (source.name, source.text, source.call))
        return (*texts, "sized") if self.sized else texts

    def file_text(self, path: str) -> str:
        """The whole file at a path as it is with the texts of this project."""
        parts = [source for source in self.sources if source.path == path]
        document = parts[0].document
        return parts[0].text if document is None else document.rewritten({part.cell or 0: part.text for part in parts})

    def digest(self, paths: Iterable[str]) -> str:
        """SHA-256 of one file as it was read, or of the digests of several."""
        found = [self.find_file(path).fingerprint for path in sorted(set(paths))]
        return found[0] if len(found) == 1 else hashlib.sha256(" ".join(found).encode()).hexdigest()

    def find_file(self, path: str) -> Source:
        """The first source of a file."""
        return next((source for source in self.sources if source.path == path), None) or self.module(path)

    def diff(self, changed: Project) -> str:
        """Unified diff to a changed version of this program, file by file."""
        pieces: list[str] = []
        for path in dict.fromkeys(source.path for source in self.sources):
            before, after = self.file_text(path), changed.file_text(path)
            if before != after:
                pieces += _unified(before, after, path)
        return "".join(pieces)


def _unified(before: str, after: str, path: str) -> Iterator[str]:
    lines = (before.splitlines(keepends=True), after.splitlines(keepends=True))
    for piece in difflib.unified_diff(*lines, path, path, n=2):
        yield piece if piece.endswith("\n") else f"{piece}\n\\ No newline at end of file\n"


def open_project(path: str | Path) -> Project:
    """Read a program: a Python file, or a notebook.

    Raises
    ------
    SourceError
        If the file cannot be read, or is not what its name says.
    """
    if Path(path).suffix.lower() != ".ipynb":
        return Project([read(path)])
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    document = notebook.parse(data, str(path))
    digest = hashlib.sha256(data).hexdigest()
    cells = [
        Source(str(path), cell.text, document.encoding, cell=number, document=document, digest=digest)
        for number, cell in enumerate(document.cells, 1)
    ]
    return Project(cells, remarks=document.remarks)


def read(path: str | Path) -> Source:
    """Read a Python file in its declared encoding.

    Raises
    ------
    SourceError
        If the file cannot be read or its encoding is not what it says.
    """
    try:
        data = Path(path).read_bytes()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return Source(str(path), data.decode(encoding), encoding, digest=hashlib.sha256(data).hexdigest())
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise SourceError(f"{path}: cannot be decoded: {error}") from error
