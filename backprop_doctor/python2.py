"""Python 2 as Python 3, line by line, where the standard library still has lib2to3 to translate it.

Only what stands on a line changes, never the number of lines, so that positions stay true.  Whole numbers are
divided as Python 3 divides them: that cannot be seen in the text.
"""

from __future__ import annotations

import ast
import re
import warnings
from functools import lru_cache
from typing import Any

__all__ = ["as_python_3", "is_available"]

NAMES = re.compile(
    r"\b(xrange|raw_input|unicode|unichr|basestring|cPickle|cStringIO|urllib2|Tkinter|iteritems|itervalues|has_key)\b"
)
# Files that care for both versions by themselves.
BOTH = re.compile(r"except\s+\(?\s*(NameError|ImportError|ModuleNotFoundError)|sys\.version|\bsix\b")
FIXERS = (
    "basestring", "dict", "except", "exec", "filter", "has_key", "imports", "long", "map", "ne", "next", "numliterals",
    "print", "raise", "raw_input", "reduce", "repr", "tuple_params", "unicode", "xrange", "zip",
)  # fmt: skip


@lru_cache(maxsize=64)
def as_python_3(code: str) -> str:
    """The code translated; as it is where it is Python 3 already, or cannot be translated."""
    parses = _parses(code)
    if (parses and (not NAMES.search(code) or BOTH.search(code))) or not is_available():
        return code
    try:
        translated = str(_translator().refactor_string(code if code.endswith("\n") else f"{code}\n", "program"))
    except Exception:  # the grammar of lib2to3 is no better than that of Python 2
        return code
    translated = translated if code.endswith("\n") else translated.removesuffix("\n")
    same_lines = translated.count("\n") == code.count("\n")
    return translated if same_lines and _parses(translated) else code


def is_available() -> bool:
    """Whether this Python can translate: lib2to3 left the standard library with version 3.13."""
    try:
        _translator()
    except ImportError:
        return False
    return True


@lru_cache(maxsize=1)
def _translator() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lib2to3 import refactor  # type: ignore[import-not-found,unused-ignore]

        return refactor.RefactoringTool([f"lib2to3.fixes.fix_{name}" for name in FIXERS])


def _parses(code: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
