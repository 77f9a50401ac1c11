"""``[tool.backprop-doctor]`` in ``pyproject.toml``: what is set there holds where the command line says nothing."""

from __future__ import annotations

import difflib
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from glob import escape
from typing import Any

from backprop_doctor import rules
from backprop_doctor.checking import Options
from backprop_doctor.errors import UsageError

__all__ = ["Config", "find", "options", "read"]

FILE = "pyproject.toml"
TABLE = "backprop-doctor"


@dataclass(frozen=True)
class Config:
    """The settings of one file; None or empty where it says nothing.

    ``time_limit`` is in seconds, ``memory_limit`` in MiB.  What is written relative to the folder of the file has been
    made absolute in the patterns of ``per_file_ignores``, and relative to the current folder in ``paths``.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    extend_select: tuple[str, ...] = ()
    per_file_ignores: tuple[tuple[str, tuple[str, ...]], ...] = ()
    time_limit: float | None = None
    memory_limit: int | None = None
    seed: int | None = None
    call: str | None = None
    args: tuple[str, ...] | None = None
    paths: tuple[str, ...] = ()
    jobs: int | None = None


def options(path: str, given: Mapping[str, Any], config: Config | None = None) -> Options:
    """How a program is checked.

    Parameters
    ----------
    path : str
        The program.
    given : mapping of str to object
        What the command line says, by the names of the fields of `Config`.
    config : Config, optional
        What to go by instead of the nearest file.
    """
    settings = find(path) if config is None else config
    selecting = bool(given.get("select"))
    base = Config(per_file_ignores=settings.per_file_ignores) if selecting else settings

    def chosen(name: str, default: Any) -> Any:
        of = given.get(name, getattr(settings, name))
        return default if of is None else of

    return Options(
        call=chosen("call", None),
        arguments=chosen("args", ()),
        seed=chosen("seed", Options.seed),
        select=tuple(given["select"]) if selecting else base.select,
        ignore=(*base.ignore, *given.get("ignore", ())),
        extend_select=(*base.extend_select, *given.get("extend_select", ())),
        per_file_ignores=base.per_file_ignores,
        time_limit_seconds=chosen("time_limit", Options.time_limit_seconds),
        memory_limit_mib=chosen("memory_limit", Options.memory_limit_mib),
    )


def find(path: str) -> Config:
    """The settings nearest to a file or folder: those of the first folder above it that has some."""
    folder = os.path.abspath(path)
    while True:
        found = _table(os.path.join(folder, FILE))
        if found is not None:
            return found
        parent = os.path.dirname(folder)
        if parent == folder:
            return Config()
        folder = parent


def read(path: str) -> Config:
    """The settings of a file.

    Raises
    ------
    UsageError
        If it cannot be read, has no such table, or something is wrong in it.
    """
    if not os.path.isfile(path):
        raise UsageError(f"--config {path}: there is no such file")
    found = _table(os.path.abspath(path))
    if found is None:
        raise UsageError(f"--config {path}: there is no table [tool.{TABLE}] in it")
    return found


@cache
def _table(path: str) -> Config | None:
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error
    if TABLE not in text:
        return None
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        table = tomllib.loads(text).get("tool", {}).get(TABLE)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: this is not TOML: {error}") from error
    return None if table is None else _checked(table, path)


def _checked(table: dict[str, Any], path: str) -> Config:
    known = {field.name.replace("_", "-"): field.name for field in fields(Config)}
    values = {}
    for key, value in table.items():
        place = f"{path}: [tool.{TABLE}]"
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
            raise UsageError(f"{place} has no key {key}{hint}")
        accepted, convert = KINDS[known[key]]
        try:
            values[known[key]] = convert(value, os.path.dirname(path))
        except (TypeError, ValueError):
            raise UsageError(f"{place} {key} = {value!r}: it has to be {accepted}") from None
        except UsageError as error:
            raise UsageError(f"{place} {key}: {error}") from None
    return Config(**values)


def _texts(value: Any, _: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError
    return tuple(value)


def _codes(value: Any, folder: str) -> tuple[str, ...]:
    return rules.resolve([value] if isinstance(value, str) else _texts(value, folder))


def _patterns(value: Any, folder: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Patterns of absolute paths: one without a folder means files of that name wherever they are."""
    if not isinstance(value, dict):
        raise TypeError
    beginning = escape(folder).rstrip(os.sep) + os.sep
    pairs = []
    for pattern, codes in value.items():
        inside = pattern if "/" in pattern else f"*/{pattern}"
        for start in {inside, inside.removeprefix("*/")}:
            pairs.append((beginning + start.removeprefix("./").replace("/", os.sep), _codes(codes, folder)))
    return tuple(sorted(pairs))


def _words(value: Any, folder: str) -> tuple[str, ...]:
    return tuple(shlex.split(value)) if isinstance(value, str) else _texts(value, folder)


def _places(value: Any, folder: str) -> tuple[str, ...]:
    return tuple(os.path.relpath(os.path.join(folder, path)) for path in _texts(value, folder))


def _text(value: Any, _: str) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _whole(least: int) -> Callable[[Any, str], int]:
    def convert(value: Any, _: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError
        return value

    return convert


def _seconds(value: Any, _: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ValueError
    return value


RULES = "a list of codes, beginnings of codes or names of rules"

# What a key accepts, in words and as the function that converts it.
KINDS: dict[str, tuple[str, Callable[[Any, str], Any]]] = {
    "select": (RULES, _codes),
    "ignore": (RULES, _codes),
    "extend_select": (RULES, _codes),
    "per_file_ignores": ("a table of patterns of files with lists of rules", _patterns),
    "time_limit": ("a number of seconds above 0", _seconds),
    "memory_limit": ("a whole number of MiB, at least 64", _whole(64)),
    "seed": ("a whole number, at least 0", _whole(0)),
    "call": ("a text of Python", _text),
    "args": ("a text, or a list of texts", _words),
    "paths": ("a list of files and folders", _places),
    "jobs": ("a whole number, at least 1", _whole(1)),
}
