"""The tests that every rule has to pass, this package's and those of others: its page, its programs, its fixtures.

Each test yields sentences of what is not as it should be.
"""

from __future__ import annotations

import re
import tempfile
import textwrap
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path

from backprop_doctor import rules
from backprop_doctor.errors import CannotCheckError
from backprop_doctor.records import FileReport, Unchecked
from backprop_doctor.rules import RuleInfo

__all__ = [
    "checked",
    "diagnosed",
    "example",
    "expected",
    "fixture",
    "fixtures",
    "folder",
    "forget",
    "instead",
    "layouts",
    "page",
    "programs",
    "run",
    "sections",
    "seen",
]

HEADINGS = [
    "What it does",
    "Why it is wrong",
    "Example",
    "Use instead",
    "How it is detected",
    "Fix safety",
    "Known limits",
    "References",
]
LAYOUTS = ([""], ["samples first"], ["samples first", "features first"])
HEADING = re.compile(r"^(?P<title>\S.*)\n(?P<underline>-+)$", re.MULTILINE)
WIDTH = 78  # explain indents by two
SEVERITIES = {"expect": "error", "warn": "warning", "note": "note"}
COMMENT = re.compile(r"# (expect|warn|note): ([A-Z0-9, ]+)")
FIXTURES = 3
NEAR_MISS = re.compile(r"^#.*near miss", re.IGNORECASE | re.MULTILINE)


def run(rule: RuleInfo, where: Path | None = None) -> Iterator[str]:
    """All tests of a rule, with the fixtures of a folder if it has one."""
    yield from page(rule)
    for text in programs(rule, "Example"):
        yield from (f"Example: {fault}" for fault in example(rule, text))
    for text in programs(rule, "Use instead"):
        yield from (f"Use instead: {fault}" for fault in instead(rule, text))
    if where is None:
        yield f"there are no fixtures: none of the folders above has fixtures/{rule.module} or fixtures/rules/"
        return
    yield from fixtures(where)
    yield from layouts(rule, where)
    for path in sorted(where.glob("*.py")):
        yield from (f"{path.name}: {fault}" for fault in fixture(rule, path))


def page(rule: RuleInfo) -> Iterator[str]:
    """The file, and the page that ``explain`` shows."""
    if rule.module != rule.name.replace("-", "_"):
        yield f"the file is called {rule.module}, and has to be called like the rule {rule.name}"
    first = rule.path.read_text(encoding="utf-8").splitlines()[0]
    if first != f'"""{rule.code} {rule.name}: {rule.summary}' or not re.fullmatch(r"[a-z][^.]*\.", rule.summary):
        yield "the first line has to be code, name and one sentence in small letters"
    found = sections(rule)
    headings = [heading for heading, _ in groupby(found, key=lambda section: section[0])]
    if headings != HEADINGS:
        yield f"the headings are {', '.join(headings)}; they have to be {', '.join(HEADINGS)}"
    yield from (f"there is nothing under {heading}" for heading, _, text in found if not text.strip())
    for match in HEADING.finditer(rule.explanation):
        if len(match["title"]) != len(match["underline"]):
            yield f"{match['title']} is not underlined as long as it is"
    layouts = {heading: [s[1] for s in found if s[0] == heading] for heading in HEADINGS}
    if layouts["Example"] != layouts["Use instead"] or layouts["Example"] not in LAYOUTS:
        yield "Example and Use instead have to be there in the same layouts"
    if any(layouts[heading] not in ([], [""]) for heading in HEADINGS if heading not in ("Example", "Use instead")):
        yield "only Example and Use instead can be there twice"
    for line in rule.explanation.splitlines():
        if len(line) > WIDTH and "https://" not in line:
            yield f"a line is longer than {WIDTH} letters: {line.strip()[:40]}"
    prose = "\n".join(line for line in rule.explanation.splitlines() if not line.startswith("    "))
    if "!" in prose:
        yield "there is an exclamation mark"
    unknown = set(re.findall(r"BD\d+", prose)) - {other.code for other in rules.catalogue()}
    yield from (f"there is no rule {code}" for code in sorted(unknown))


def example(rule: RuleInfo, text: str) -> Iterator[str]:
    """A faulty program of the page: it draws its rule and no other error, and a fix that is made is verified."""
    report = checked(text)
    if rule.code not in {finding.code for finding in report.findings}:
        yield f"{rule.code} is not found"
    for finding in report.findings:
        if finding.severity == "error" and finding.code != rule.code:
            yield f"line {finding.position.line}: {finding.code} is found too"
        if finding.code == rule.code and finding.fix.status == "offered":
            yield f"line {finding.position.line}: the fix is not verified: {finding.fix.proof or finding.fix.summary}"
    # A fault may leave nothing to compare a gradient with; that the tool itself fails is another matter.
    yield from _failures(report)


def instead(rule: RuleInfo, text: str) -> Iterator[str]:
    """A right program of the page: it is healthy, all of it can be told, and its rule is silent."""
    report = checked(text)
    if report.verdict != "healthy":
        yield f"the verdict is {report.verdict}"
    for finding in report.findings:
        if finding.severity == "error" or finding.code == rule.code:
            yield f"line {finding.position.line}: {finding.code} is found"
    yield from (f"{unchecked.what}: {unchecked.why}" for unchecked in report.unchecked)


def fixtures(where: Path) -> Iterator[str]:
    """How many fixtures there are, and whether one of them is nearly faulty and says why it is right."""
    kinds = Counter(path.name.partition("_")[0] for path in where.glob("*.py"))
    for kind in ("bad", "good"):
        if kinds[kind] < FIXTURES:
            yield f"{where.name} has {kinds[kind]} fixtures {kind}_*.py, and needs {FIXTURES}"
    yield from (f"{where.name}: what is {kind}_*.py?" for kind in sorted(set(kinds) - {"bad", "good"}))
    if not any(NEAR_MISS.search(path.read_text(encoding="utf-8")) for path in where.glob("good_*.py")):
        yield f"{where.name} has no fixture good_*.py with a comment '# Near miss: why it is right'"


def layouts(rule: RuleInfo, where: Path) -> Iterator[str]:
    """Where the page shows a fault in both layouts, faulty fixtures do so too."""
    if len(programs(rule, "Example")) < 2:
        return
    shown = set[int]()
    for path in sorted(where.glob("bad_*.py")):
        # Of a program that stops it is known once it is mended.
        network = _report(path).network or _report(path, fix=True).network
        output = network.output if network else None
        if output is not None and len(set(output.shape)) == 1:
            shown |= {0, 1}  # what only square arrays let pass does not tell
        shown |= {axis for axis, meaning in enumerate(output.axes if output else ()) if meaning == "samples"}
    words = ("in rows", "in columns")
    yield from (f"{where.name}: no fixture bad_*.py has samples {words[axis]}" for axis in sorted({0, 1} - shown))


def fixture(rule: RuleInfo, path: Path) -> Iterator[str]:
    """A fixture draws what its comments say and nothing else; a bad one draws its rule, a good one no error."""
    report = _report(path)
    wanted, found = expected(path), seen(report)
    for line, code in wanted:
        if found.get((line, code)) != wanted[line, code]:
            yield f"line {line}: {code} is expected as {wanted[line, code]}, and is {found.get((line, code), 'missed')}"
    for (line, code), severity in found.items():
        if severity != "note" and (line, code) not in wanted:
            yield f"line {line}: {code} is found, and not expected"
    yield from _failures(report)
    shows = rule.code in {code for _, code in wanted}
    if path.name.startswith("bad_") and not shows:
        yield f"it does not expect {rule.code}"
    others = sorted({code for (_, code), kind in wanted.items() if kind == "error" and code != rule.code})
    if path.name.startswith("bad_") and others:
        yield f"it expects other errors: {', '.join(others)}"
    if path.name.startswith("good_") and (shows or "error" in wanted.values()):
        yield "it expects a fault"


def _failures(report: FileReport) -> Iterator[str]:
    for failed in report.unchecked:
        if not report.ran or "fault of this tool" in failed.why:
            yield f"{failed.what}: {failed.why}"


def folder(rule: RuleInfo) -> Path | None:
    """The fixtures of a rule: ``fixtures/rules/<name>`` or ``fixtures/<name>`` in a folder above its file."""
    for parent in rule.path.resolve().parents:
        for where in (parent / "fixtures" / "rules" / rule.module, parent / "fixtures" / rule.module):
            if where.is_dir():
                return where
    return None


def sections(rule: RuleInfo) -> list[tuple[str, str, str]]:
    """Heading, layout (``samples first`` or the like, else empty) and text of each section of a page."""
    found = list(HEADING.finditer(rule.explanation))
    ends = [match.start() for match in found[1:]] + [len(rule.explanation)]
    result = []
    for match, end in zip(found, ends, strict=bool(found)):
        heading, _, layout = match["title"].partition(" (")
        result.append((heading, layout.rstrip(")"), rule.explanation[match.end() : end].strip("\n")))
    return result


def programs(rule: RuleInfo, wanted: str) -> list[str]:
    """The programs under a heading, one for each layout."""
    return [_program(text) for heading, _, text in sections(rule) if heading == wanted]


def _program(text: str) -> str:
    """The literal block of a section: the indented lines after the paragraph that ends with two colons."""
    _, _, rest = text.partition("::\n\n")
    lines = rest.splitlines()
    end = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("    ")), len(lines))
    return textwrap.dedent("\n".join(lines[:end])).strip("\n") + "\n"


@cache
def checked(text: str) -> FileReport:
    """What the doctor says of a program."""
    with tempfile.TemporaryDirectory() as parent:
        path = Path(parent, "program.py")
        path.write_text(text, encoding="utf-8")
        return _report(path, fix=True)


def forget() -> None:
    """Check programs anew: the rules are others now."""
    checked.cache_clear()
    _reported.cache_clear()


def _report(path: Path, *, fix: bool = False) -> FileReport:
    """The report on a program; where there can be none, one that says why."""
    return _reported(path, path.read_text(encoding="utf-8"), fix)


@cache
def _reported(path: Path, text: str, fix: bool) -> FileReport:
    try:
        return diagnosed(path, fix=fix)
    except CannotCheckError as error:
        why = (Unchecked("the program", str(error)),)
        return FileReport(str(path), "unknown", ran=False, seconds=0.0, unchecked=why)


def diagnosed(path: Path, *, fix: bool = False, search_seconds: float = 0.0) -> FileReport:
    """The report on a program, in this process."""
    from backprop_doctor import confinement, diagnosis

    path = path.absolute()  # a program is run in the folder it is in
    with confinement.for_path(str(path)) as surroundings, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return diagnosis.diagnose(str(path), surroundings, fix=fix, search_seconds=search_seconds)


def expected(path: Path) -> dict[tuple[int, str], str]:
    """Severity of what a fixture expects, by line and code.

    ``# expect: BD301`` is an error at that line, ``# warn:`` and ``# note:`` say what they say, and a line without a
    comment asserts silence.
    """
    found: dict[tuple[int, str], str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        for kind, codes in COMMENT.findall(line):
            found |= {(number, code.strip()): SEVERITIES[kind] for code in codes.split(",")}
    return found


def seen(report: FileReport) -> dict[tuple[int, str], str]:
    """Severity of what was found, by line and code."""
    return {(f.position.line, f.code): f.severity for f in report.findings}
