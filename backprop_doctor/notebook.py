"""A notebook as a sequence of code cells, and changed cells written back with every other byte kept.

The JSON is read here, not with nbformat: that knows nothing of positions in the file and writes the whole file
anew, so that one changed line would change the formatting of all others.
"""

from __future__ import annotations

import ast
import difflib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

from backprop_doctor.errors import SourceError

__all__ = ["Cell", "Notebook", "as_python", "indentation", "parse"]

Span = tuple[int, int]

SPACE = re.compile(r"[ \t\r\n]*")
# Cell magics whose cell is Python all the same; the cells of all others are not run.
PYTHON_CELLS = frozenset({"%%capture", "%%prun", "%%time", "%%timeit", "%%python3", "%%px", "%%memit"})
MAGIC = re.compile(r"(?P<indent>\s*)(?P<bound>[A-Za-z_][\w., ]*=\s*)?(?P<sign>%{1,2}|!{1,2}|\?{1,2})(?P<name>[\w.]*)")
HELP = re.compile(r"\s*[%\w.]+\?{1,2}\s*;?\s*$")
INSTALLS = re.compile(r"\s*(pip3?|conda|mamba)\s+(install|uninstall|list)\b")
TOKENS = re.compile(r"#[^\n]*|(\"\"\"|''')|(\"|')|[([{]|[)\]}]|\\\n|\\.")


@dataclass(frozen=True)
class Cell:
    """A code cell: its text, where that stands in the file, and when it was run last."""

    text: str
    span: Span
    count: int | None


@dataclass(frozen=True)
class Notebook:
    """A notebook file: its text, and its code cells in order."""

    raw: str
    cells: tuple[Cell, ...]
    encoding: str = "utf-8"
    remarks: tuple[str, ...] = ()

    def rewritten(self, texts: Mapping[int, str]) -> str:
        """The file with other texts in some cells, by their 1-based position; the rest stays byte by byte."""
        pieces, last = [], 0
        for number, cell in enumerate(self.cells, 1):
            text = texts.get(number, cell.text)
            if text != cell.text:
                start, end = cell.span
                pieces += [self.raw[last:start], _encoded(self.raw[start:end], text, plain=self.raw.isascii())]
                last = end
        return "".join([*pieces, self.raw[last:]])


def parse(data: bytes, path: str) -> Notebook:
    """Read a notebook.

    Raises
    ------
    SourceError
        If it is no notebook, with the position where reading stopped, or has no code in Python.
    """
    encoding = "utf-8-sig" if data.startswith(b"\xef\xbb\xbf") else "utf-8"
    try:
        raw = data.decode(encoding)
        content = json.loads(raw)
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: cannot be decoded: {error}") from error
    except json.JSONDecodeError as error:
        raise SourceError(f"{path}:{error.lineno}:{error.colno}: not a notebook: {error.msg} (invalid JSON)") from error
    except RecursionError as error:
        raise SourceError(f"{path}: not a notebook: it is nested too deeply") from error
    language = _language(content)
    if language not in ("", "python", "ipython", "python3", "python2"):
        raise SourceError(f"{path}: this notebook is written in {language}, not in Python")
    cells = tuple(_cells(raw, content))
    if not cells:
        raise SourceError(f"{path}: there are no code cells in this notebook")
    return Notebook(raw, cells, encoding, tuple(_remarks(cells)))


def _language(content: Any) -> str:
    metadata = content.get("metadata", {}) if isinstance(content, dict) else {}
    told = [metadata.get("kernelspec"), metadata.get("language_info")] if isinstance(metadata, dict) else []
    names = [part.get("language") or part.get("name") for part in reversed(told) if isinstance(part, dict)]
    return str(next((name for name in names if name), "")).lower()


def _remarks(cells: tuple[Cell, ...]) -> Iterator[str]:
    counts = [(cell.count, number) for number, cell in enumerate(cells, 1) if cell.count]
    for (before, first), (after, second) in itertools.pairwise(counts):
        if after < before:
            yield (
                f"the cells were last run in another order: cell {second} as number {after}, cell {first} above it as "
                f"number {before}; here they run from top to bottom"
            )
            return


# -- positions in the file ---------------------------------------------------------------------------------


def _cells(raw: str, content: Any) -> Iterator[Cell]:
    """Code cells with the spans of their texts; notebooks of version 3 keep them in worksheets."""
    top = _value(raw, 0)
    for cells in (_member(raw, top, "cells"), *_worksheets(raw, top)):
        for start in _items(raw, cells):
            kind = _member(raw, start, "cell_type")
            text = _member(raw, start, "source")
            text = _member(raw, start, "input") if text is None else text
            if kind is None or text is None or _decoded(raw, kind) != "code":
                continue
            value, end = _decoder.raw_decode(raw, text)
            told = [_member(raw, start, name) for name in ("execution_count", "prompt_number")]
            count = next((_decoded(raw, at) for at in told if at is not None), None)
            joined = "".join(value) if isinstance(value, list) else str(value)
            yield Cell(joined, (text, end), count if isinstance(count, int) else None)


_decoder = json.JSONDecoder()


def _worksheets(raw: str, top: int) -> Iterator[int | None]:
    for start in _items(raw, _member(raw, top, "worksheets")):
        yield _member(raw, start, "cells")


def _decoded(raw: str, start: int) -> Any:
    return _decoder.raw_decode(raw, start)[0]


def _value(raw: str, position: int) -> int:
    """Where the next value begins."""
    found = SPACE.match(raw, position)
    return found.end() if found else position


def _member(raw: str, start: int, name: str) -> int | None:
    """Where the value of a key of an object begins."""
    if raw[start : start + 1] != "{":
        return None
    position = _value(raw, start + 1)
    while raw[position] != "}":
        key, position = scanstring(raw, position + 1, True)
        position = _value(raw, _value(raw, position) + 1)
        if key == name:
            return position
        _, position = _decoder.raw_decode(raw, position)
        position = _value(raw, position)
        if raw[position] == ",":
            position = _value(raw, position + 1)
    return None


def _items(raw: str, start: int | None) -> Iterator[int]:
    """Where the values of an array begin."""
    if start is None or raw[start : start + 1] != "[":
        return
    position = _value(raw, start + 1)
    while raw[position] != "]":
        yield position
        _, position = _decoder.raw_decode(raw, position)
        position = _value(raw, position)
        if raw[position] == ",":
            position = _value(raw, position + 1)


def _encoded(raw: str, text: str, *, plain: bool) -> str:
    """A cell's text in the form that the old one has: one string, or a list of lines."""
    if raw[0] != "[":
        return json.dumps(text, ensure_ascii=plain)
    spans = [(start, _decoder.raw_decode(raw, start)[1]) for start in _items(raw, 0)]
    if not spans:
        return json.dumps([text], ensure_ascii=plain)
    old = [_decoded(raw, start) for start, _ in spans]
    new = text.splitlines(keepends=True)
    lines: list[str] = []
    for kind, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        kept = [raw[start:end] for start, end in spans[i:j]]
        lines += kept if kind == "equal" else [json.dumps(line, ensure_ascii=plain) for line in new[k:m]]
    opening, closing = raw[: spans[0][0]], raw[spans[-1][1] :]
    between = raw[spans[0][1] : spans[1][0]] if len(spans) > 1 else f",{opening[1:]}"
    return opening + between.join(lines) + closing


# -- magics --------------------------------------------------------------------------------------------------


def indentation(text: str) -> str:
    """What the first line of a cell is indented by: IPython takes it away from all lines that have it."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return first[: len(first) - len(first.lstrip(" \t"))]


def as_python(text: str) -> str:
    """The cell as plain Python: magics, shell commands and questions do nothing, lines stay where they are."""
    try:
        ast.parse(text)
    except SyntaxError:
        return "".join(_neutral(text))
    except (ValueError, RecursionError, MemoryError):
        pass
    return text


def _neutral(text: str) -> Iterator[str]:
    lines = text.splitlines(keepends=True)
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    name = lines[first].split()[0]
    if name.startswith("%%") and name not in PYTHON_CELLS:
        yield from (_nothing(line) for line in lines)
        return
    pending = ""  # the logical line so far, where it is not complete
    commanded = False  # whether the line before was a command that goes on
    for line in lines:
        if commanded or (not pending and _is_command(line)):
            yield line[len(line.rstrip("\r\n")) :] if commanded else _done(line)
            commanded = line.rstrip().endswith("\\")
            continue
        pending = "" if _is_complete(pending + line) else pending + line
        yield line


def _is_command(line: str) -> bool:
    if HELP.match(line) or INSTALLS.match(line):
        return True
    found = MAGIC.match(line)
    return found is not None and not found["indent"].endswith("\n")


def _done(line: str) -> str:
    """What a command leaves behind in the program: its name bound, or the statement it times."""
    ending = line[len(line.rstrip("\r\n")) :]
    found = MAGIC.match(line)
    if found is None or HELP.match(line):
        return _nothing(line)
    if found["bound"]:
        return f"{found['indent']}{found['bound']}[]{ending}"
    if (found["sign"], found["name"]) == ("%", "time") and line.partition("%time")[2].strip():
        # As long as what it replaces, so that columns stay.
        return line.replace("%time ", "if 1: ", 1)
    if (found["sign"], found["name"]) == ("%", "pylab"):
        drawn = "from matplotlib.pyplot import *; import matplotlib.pyplot as plt"
        return f"{found['indent']}import numpy, numpy as np; from numpy import *; {drawn}{ending}"
    return _nothing(line)


def _nothing(line: str) -> str:
    body = line.rstrip("\r\n")
    if not body.strip():
        return line
    return body[: len(body) - len(body.lstrip())] + "pass" + line[len(body) :]


def _is_complete(text: str) -> bool:
    """Whether brackets and strings are closed at the end of a stretch of code."""
    depth, position = 0, 0
    while found := TOKENS.search(text, position):
        token, position = found[0], found.end()
        if token in ('"""', "'''"):
            position = text.find(token, position) + 3
            if position == 2:
                return False
        elif token in ('"', "'"):
            closing = re.compile(rf"(?:\\.|[^\\\n{token}])*{token}?").match(text, position)
            position = closing.end() if closing else position
        elif token in "([{":
            depth += 1
        elif token in ")]}":
            depth -= 1
    return depth <= 0 and not text.rstrip(" \t\r\n").endswith("\\")
