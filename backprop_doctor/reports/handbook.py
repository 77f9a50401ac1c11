"""The pages about rules: one rule explained, and the list of all; ``python -m`` writes them as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from backprop_doctor.reports.layout import display_width, pad, wrap
from backprop_doctor.reports.view import View
from backprop_doctor.rules import RuleInfo

__all__ = ["contents", "markdown", "page"]

COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}
UNDERLINES = set("-=~")


def page(rule: RuleInfo, view: View) -> str:
    """The explanation of a rule; headings stand out instead of being underlined."""
    head = (
        f"{view.style(rule.code, fg=COLOURS[rule.severity], bold=True)} {view.style(rule.name, bold=True)}  "
        f"{view.style(f'({rule.severity}, {rule.family})', dim=True)}"
    )
    summary = "\n".join(wrap(rule.summary, view.width))
    return "\n\n".join(part for part in (head, summary, "\n".join(_body(rule.explanation, view))) if part)


def _body(text: str, view: View) -> Iterator[str]:
    lines = text.rstrip().splitlines()
    for line, following in zip(lines, [*lines, ""][1:], strict=True):
        if _is_underline(following) and line.strip():
            yield view.style(line, bold=True)
        elif not _is_underline(line):
            yield f"  {line}" if line.strip() else ""


def _is_underline(line: str) -> bool:
    return len(line) > 2 and set(line) <= UNDERLINES and len(set(line)) == 1


def contents(rules: Sequence[RuleInfo], view: View) -> str:
    """All rules by family."""
    width = max((display_width(rule.name) for rule in rules), default=0)
    blocks = []
    for family in dict.fromkeys(rule.family for rule in rules):
        lines = [view.style(family, bold=True)]
        for rule in rules:
            if rule.family == family:
                lines += _entry(rule, width, view)
        blocks.append("\n".join(lines))
    blocks.append(view.style("backprop-doctor explain CODE says more about each", dim=True))
    return "\n\n".join(blocks)


def _entry(rule: RuleInfo, width: int, view: View) -> Iterator[str]:
    severity = view.style(f"{rule.severity:<7}", fg=COLOURS[rule.severity])
    margin = 2 + len(rule.code) + 2 + 7 + 2 + width + 2
    head = f"  {rule.code}  {severity}  {pad(rule.name, width)}"
    if view.width - margin < 40:
        yield head.rstrip()
        yield from (f"    {line}" for line in wrap(rule.summary, view.width - 4))
        return
    first, *others = wrap(rule.summary, view.width - margin)
    yield f"{head}  {first}"
    yield from (" " * margin + line for line in others)


def markdown(rules: Sequence[RuleInfo]) -> str:
    """All rules with their pages as one Markdown document."""
    parts = ["# The rules", "<!-- Written by: python -m backprop_doctor.reports.handbook > docs/rules.md -->"]
    for family in dict.fromkeys(rule.family for rule in rules):
        of_family = [rule for rule in rules if rule.family == family]
        rows = [
            f"| [{rule.code}](#{rule.code.lower()}-{rule.name}) | {rule.name} | {rule.severity} "
            f"| {_cell(rule.summary)} |"
            for rule in of_family
        ]
        parts += [
            f"## {family[0].upper()}{family[1:]}",
            "\n".join(["| code | name | level | |", "|---|---|---|---|", *rows]),
        ]
    for rule in rules:
        parts += [f"## {rule.code} {rule.name}", f"{rule.summary[0].upper()}{rule.summary[1:]} *({rule.severity})*"]
        parts.append("\n".join(_markdown_body(rule.explanation)))
    return "\n\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _markdown_body(text: str) -> Iterator[str]:
    """Headings instead of underlines; what is indented is code already."""
    lines = text.rstrip().splitlines()
    for line, following in zip(lines, [*lines, ""][1:], strict=True):
        if _is_underline(following) and line.strip():
            yield f"### {line}"
        elif _is_underline(line):
            yield ""
        elif line.startswith("    "):
            yield line
        else:
            yield _escaped(line.removesuffix(":") if line.endswith("::") else line)


def _escaped(line: str) -> str:
    """Prose as it stands: stars and underscores of formulas are not meant as emphasis."""
    return re.sub(r"([*_<`])", r"\\\1", line)


if __name__ == "__main__":
    from backprop_doctor.rules import FOLDER, catalogue

    print(markdown(catalogue(FOLDER)))
