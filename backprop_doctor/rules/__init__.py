"""The catalogue of faults: one rule a file, and no list to edit.

A rule module opens with a docstring ``BD102 softmax-over-samples: one sentence.``, which goes on as its
page in ``explain``, and has ``SEVERITY`` and ``examine(case)``, which yields sightings.  What is known of
the rules is read with `ast`, so that explaining one imports nothing heavy.

Rules look at a program in the order of their codes.  One with ``LAST_RESORT = 1`` comes after all others, one
with 2 after those; of what they see, only what no rule before them has explained is reported.  One with
``ABOUT_DATA = True`` is silent where the data were chosen here, to call what only defines things.

Rules of other distributions are found by entry points of the group ``backprop_doctor.rules``, each of which names a
module that is a rule, or a package of such modules.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import cast

from backprop_doctor.errors import UsageError
from backprop_doctor.records import Severity

__all__ = ["FAMILIES", "GROUP", "RuleInfo", "add", "catalogue", "find", "info", "load", "resolve"]

FOLDER = Path(__file__).parent
GROUP = "backprop_doctor.rules"

FAMILIES = {
    "BD1": "forward and orientation",
    "BD2": "loss",
    "BD3": "backward",
    "BD4": "update",
    "BD5": "metric",
    "BD6": "data",
    "BD7": "numerics",
    "BD8": "training dynamics",
}

TITLE = re.compile(r"(?P<code>[A-Z]{2,5}\d{3}) (?P<name>[a-z0-9-]+): (?P<summary>.+)")


@dataclass(frozen=True)
class RuleInfo:
    """What is known of a rule without importing it.

    ``module`` is the name of its file, ``package`` that of the package it is imported from: empty for a module that
    is in none, None for a file that is not installed.
    """

    code: str
    name: str
    severity: Severity
    summary: str
    explanation: str
    module: str
    path: Path
    package: str | None = __name__

    @property
    def family(self) -> str:
        """The family the code belongs to; rules of others are one for each package."""
        return FAMILIES.get(self.code[:3], f"rules of {(self.package or self.module).partition('.')[0]}")

    @property
    def dotted(self) -> str:
        """The name under which it is imported."""
        return f"{self.package}.{self.module}" if self.package else self.module


_added: list[RuleInfo] = []


@cache
def catalogue(folder: Path = FOLDER) -> tuple[RuleInfo, ...]:
    """All rules of a folder, by code; modules that start with an underscore are helpers.

    To the rules of this package belong those of other distributions, and those that were added.

    Raises
    ------
    ValueError
        If a rule's first line has another form, or it has no severity.
    UsageError
        If that is so of a rule of another distribution, or two rules have one code or name.
    """
    found = [_read(path) for path in folder.glob("[!_]*.py")]
    if folder == FOLDER:
        found += [*_others(), *_added]
    known: dict[str, RuleInfo] = {}
    for rule in found:
        for word in (rule.code, rule.name):
            if word in known:
                raise UsageError(f"{word} stands for two rules: {known[word].path} and {rule.path}")
            known[word] = rule
    return tuple(sorted(found, key=lambda rule: rule.code))


def add(path: Path) -> tuple[RuleInfo, ...]:
    """Make the rule of a file, or those of a folder, part of the catalogue of this process.

    Raises
    ------
    UsageError
        If there is no rule, or it is malformed.
    """
    paths = sorted(path.glob("[!_]*.py")) if path.is_dir() else [path]
    known = {rule.path.resolve(): rule for rule in catalogue()}
    try:
        found = [known.get(one.resolve()) or _read(one, None) for one in paths]
    except (ValueError, OSError, SyntaxError) as error:
        raise UsageError(str(error)) from error
    if not found:
        raise UsageError(f"{path}: there is no rule in this folder")
    _added.extend(rule for rule in found if rule.path.resolve() not in known)
    catalogue.cache_clear()
    load.cache_clear()
    catalogue()
    return tuple(found)


def _others() -> Iterator[RuleInfo]:
    """The rules of other distributions, found without importing them."""
    from importlib import metadata

    for entry in metadata.entry_points(group=GROUP):
        try:
            spec = importlib.util.find_spec(entry.value)
        except (ImportError, ValueError):
            spec = None
        if spec is None:
            raise UsageError(f"the entry point {entry.name} of {GROUP}: there is no module {entry.value}")
        try:
            for folder in map(Path, spec.submodule_search_locations or ()):
                for path in folder.glob("[!_]*.py"):
                    yield _read(path, entry.value)
            if spec.submodule_search_locations is None and spec.origin:
                yield _read(Path(spec.origin), entry.value.rpartition(".")[0])
        except ValueError as error:
            raise UsageError(f"the entry point {entry.name} of {GROUP}: {error}") from error


def find(code_or_name: str, folder: Path = FOLDER) -> RuleInfo:
    """The rule of that code or name.

    Raises
    ------
    UsageError
        If there is none, with the nearest match.
    """
    wanted = re.sub(r"[\s_]+", "-", code_or_name.strip().lower())
    for rule in catalogue(folder):
        if wanted in (rule.code.lower(), rule.name):
            return rule
    raise UsageError(f"there is no rule {code_or_name}{_nearest(wanted, folder)} (backprop-doctor rules lists them)")


def resolve(selectors: Iterable[str], folder: Path = FOLDER) -> tuple[str, ...]:
    """Codes, beginnings of codes (``BD3``) and names, given one by one or with commas, as codes.

    Raises
    ------
    UsageError
        If one of them selects no rule.
    """
    resolved: list[str] = []
    for selector in (part.strip() for text in selectors for part in text.split(",")):
        beginning = selector.upper()
        if beginning in FAMILIES or any(rule.code.startswith(beginning) for rule in catalogue(folder)):
            resolved += [beginning] * bool(beginning)
        else:
            resolved.append(find(selector, folder).code)
    return tuple(dict.fromkeys(resolved))


@cache
def load() -> tuple[ModuleType, ...]:
    """The rule modules, imported, by code; one of others that cannot be imported raises when it is to examine."""
    own = [importlib.import_module(f"{__name__}.{path.stem}") for path in FOLDER.glob("[!_]*.py")]
    others = [_imported(rule) for rule in (*_others(), *_added)]
    return tuple(sorted((*own, *others), key=lambda module: info(module).code))


def _imported(rule: RuleInfo) -> ModuleType:
    try:
        if rule.package is not None:
            return importlib.import_module(rule.dotted)
        spec = importlib.util.spec_from_file_location(rule.dotted, rule.path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[rule.dotted] = module
        spec.loader.exec_module(module)
        return module
    except Exception as error:
        failure = error

    def examine(_: object) -> None:
        raise failure

    broken = ModuleType(rule.dotted)
    broken.__dict__["examine"] = examine
    return broken


@cache
def info(module: ModuleType) -> RuleInfo:
    """What is known of an imported rule."""
    if module.__name__.rpartition(".")[0] != __name__:
        return next(rule for rule in catalogue() if rule.dotted == module.__name__)
    path = FOLDER / f"{module.__name__.rpartition('.')[2]}.py"
    if module.__doc__ is None:  # an interpreter that was told to leave docstrings out
        return _read(path)
    return _of(path, inspect.cleandoc(module.__doc__), module.SEVERITY)


def _read(path: Path, package: str | None = __name__) -> RuleInfo:
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SEVERITY":
            severity = cast(Severity, ast.literal_eval(node.value))
            return _of(path, ast.get_docstring(tree) or "", severity, package)
    raise ValueError(f"{path}: a rule needs a constant SEVERITY")


def _of(path: Path, docstring: str, severity: Severity, package: str | None = __name__) -> RuleInfo:
    head, _, explanation = docstring.partition("\n\n")
    title = TITLE.fullmatch(" ".join(head.split()))
    if title is None:
        raise ValueError(f"{path}: the docstring has to start with 'BD123 name-of-the-fault: one sentence'")
    return RuleInfo(
        **title.groupdict(),
        severity=severity,
        explanation=explanation,
        module=path.stem,
        path=path,
        package=package,
    )


def _nearest(wanted: str, folder: Path) -> str:
    known = {word: rule for rule in catalogue(folder) for word in (rule.code.lower(), rule.name)}
    near = difflib.get_close_matches(wanted, known, n=2) or [n for n in known if wanted and wanted in n][:2]
    return "; did you mean " + " or ".join(f"{known[n].code} {known[n].name}" for n in near) + "?" if near else ""
