"""Which findings are wanted: rules selected or left out, for some files only, and lines that say ``# noqa``."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from backprop_doctor import rules
from backprop_doctor.errors import UsageError
from backprop_doctor.records import Finding

if TYPE_CHECKING:
    from backprop_doctor.source import Project, Source

__all__ = ["Selection", "sift"]

COMMENT = re.compile(r"#\s*noqa(?![\w-])(?::\s*(?P<codes>[A-Z]+\d+(?:[\s,]+[A-Z]+\d+)*))?", re.IGNORECASE)


@dataclass(frozen=True)
class Selection:
    """Codes, or beginnings of codes, that are wanted or not.

    Where ``extend_select`` and ``ignore`` both name a rule, the one that names it more closely wins, and
    ``extend_select`` where they do so alike.  ``per_file_ignores`` are pairs of a pattern of absolute paths and
    codes that are not wanted in these files.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    extend_select: tuple[str, ...] = ()
    per_file_ignores: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def wants(self, code: str, path: str) -> bool:
        """Whether a rule is wanted in a file."""
        name = os.path.abspath(path)
        if any(_closeness(code, codes) for pattern, codes in self.per_file_ignores if fnmatchcase(name, pattern)):
            return False
        ignored, extended = _closeness(code, self.ignore), _closeness(code, self.extend_select)
        if extended:
            return extended >= ignored
        return not ignored and (not self.select or bool(_closeness(code, self.select)))


def _closeness(code: str, prefixes: Sequence[str]) -> int:
    """How many letters of a code the longest of its beginnings has; 0 for none."""
    return max((len(prefix) for prefix in prefixes if code.startswith(prefix.upper())), default=0)


@dataclass
class _Comment:
    """A ``# noqa``; without codes it silences all of a line."""

    source: Source
    line: int
    codes: tuple[str, ...]
    used: set[str] = field(default_factory=set)

    def silences(self, finding: Finding) -> bool:
        """Whether it stands where a finding begins or ends, and names it."""
        position = finding.position
        if (position.path, position.cell) != (self.source.path, self.source.cell):
            return False
        if self.line not in (position.line, position.end_line):
            return False
        named = [code for code in self.codes if finding.code.startswith(code)]
        self.used.update(named)
        return bool(named) or not self.codes

    def __str__(self) -> str:
        return f"{os.path.basename(self.source.name)}:{self.line}"


def sift(findings: Sequence[Finding], project: Project, selection: Selection) -> tuple[list[Finding], list[str]]:
    """Take away what is not wanted.

    Parameters
    ----------
    findings : sequence of Finding
        Everything that was found.
    project : Project
        The sources the findings point into.
    selection : Selection
        What is wanted.

    Returns
    -------
    kept : list of Finding
    remarks : list of str
        What ``# noqa`` silenced, and which of these comments silence nothing or name no rule.
    """
    wanted = [finding for finding in findings if selection.wants(finding.code, finding.position.path)]
    comments = [comment for source in project.sources for comment in _comments(source)]
    kept, remarks = [], []
    for finding in wanted:
        silencing = [comment for comment in comments if comment.silences(finding)]
        if silencing:
            remarks.append(f"{silencing[0]}: {finding.code} {finding.name} is silenced by # noqa")
        else:
            kept.append(finding)
    for comment in comments:
        for code in comment.codes:
            if code not in comment.used:
                remarks += _idle(comment, code, selection)
    return kept, remarks


def _comments(source: Source) -> Iterator[_Comment]:
    if "noqa" not in source.text.lower():
        return
    with contextlib.suppress(tokenize.TokenError, SyntaxError):
        for token in tokenize.generate_tokens(io.StringIO(source.code).readline):
            match = COMMENT.search(token.string) if token.type == tokenize.COMMENT else None
            if match:
                codes = re.findall(r"[A-Z]+\d+", (match["codes"] or "").upper())
                yield _Comment(source, token.start[0], tuple(codes))


def _idle(comment: _Comment, code: str, selection: Selection) -> Iterator[str]:
    """What to say of a code that silenced nothing; those of other tools are none of our business."""
    family = code.rstrip("0123456789")
    if family not in {rule.code.rstrip("0123456789") for rule in rules.catalogue()}:
        return
    try:
        codes = rules.resolve([code])
    except UsageError as error:
        yield f"{comment}: # noqa: {error}"
        return
    if all(selection.wants(one, comment.source.path) for one in codes):
        yield f"{comment}: # noqa: {code} silences nothing and can go"
