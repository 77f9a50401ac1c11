"""A file of the user's: its text, its syntax tree, and positions in both."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from backprop_doctor.errors import SourceError, UsageError
from backprop_doctor.records import Edit, Position

__all__ = ["Source", "read"]

LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


@dataclass(frozen=True)
class Source:
    """The text of one file, and code to run after it; ``encoding`` is kept so that edits change nothing else."""

    path: str
    text: str
    encoding: str = "utf-8"
    call: str = ""

    _full: str = field(init=False, repr=False, compare=False)
    _lines: list[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        separator = "" if not self.call or self.text.endswith("\n") else "\n"
        full = self.text + separator + self.call
        object.__setattr__(self, "_full", full)
        # Only \n, \r and \r\n end a line for Python; str.splitlines knows more of them.
        object.__setattr__(self, "_lines", LINE.findall(full))

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
            tree = ast.parse(self.text, filename=self.path)
        except SyntaxError as error:
            line, column = error.lineno or 1, error.offset or 1
            hint = " (it looks like Python 2)" if "print" in (error.msg or "") else ""
            raise SourceError(f"{self.path}:{line}:{column}: syntax error: {error.msg}{hint}") from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise SourceError(f"{self.path}: cannot be parsed: {error}") from error
        if self.call:
            tree.body += self._call().body
        return tree

    def _call(self) -> ast.Module:
        try:
            called = ast.parse(self.call, filename="--call")
        except SyntaxError as error:
            raise UsageError(f"--call {self.call!r} is not Python: {error.msg}") from error
        return ast.increment_lineno(called, len(self._lines) - len(LINE.findall(self.call)))

    def line(self, number: int) -> str:
        """Text of a 1-based line without its end."""
        return self._lines[number - 1].rstrip("\r\n") if 0 < number <= len(self._lines) else ""

    def whole_line(self, number: int) -> str:
        """Text of a 1-based line with its end."""
        return self._lines[number - 1] if 0 < number <= len(self._lines) else ""

    def position(self, node: ast.AST) -> Position:
        """Where a node stands, with columns counted in characters."""
        start, end = _span(node)
        return Position(self.path, start[0], self._column(*start) + 1, end[0], self._column(*end) + 1)

    def segment(self, node: ast.AST) -> str:
        """The source text of a node."""
        position = self.position(node)
        return self._full[
            self.offset(position.line, position.column) : self.offset(position.end_line, position.end_column)
        ]

    def offset(self, line: int, column: int) -> int:
        """Offset in ``text`` of a 1-based line and column."""
        return self._starts[line - 1] + column - 1

    def apply(self, edits: tuple[Edit, ...] | list[Edit]) -> str:
        """The text with every edit made; identical edits count once, overlapping ones are refused."""
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

    @cached_property
    def _starts(self) -> list[int]:
        starts = [0]
        for line in self._lines:
            starts.append(starts[-1] + len(line))
        return starts

    def _column(self, line: int, byte_offset: int) -> int:
        text = self.line(line)
        return byte_offset if text.isascii() else len(text.encode()[:byte_offset].decode(errors="ignore"))


def _span(node: ast.AST) -> tuple[tuple[int, int], tuple[int, int]]:
    return (
        (node.lineno, node.col_offset),  # type: ignore[attr-defined]
        (node.end_lineno, node.end_col_offset),  # type: ignore[attr-defined]
    )


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
        return Source(str(path), data.decode(encoding), encoding)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise SourceError(f"{path}: cannot be decoded: {error}") from error
