"""Text in columns: measuring, cutting, wrapping, and what an encoding can show."""

from __future__ import annotations

import unicodedata

__all__ = ["clean", "crop", "display_width", "pad", "plain", "wrap"]

ASCII = {
    "…": "...",
    "→": "->",
    "×": "x",
    "·": "*",
    "≤": "<=",
    "≥": ">=",
    "±": "+-",
    "−": "-",
    "–": "-",
    "∂": "d",
}


def plain(text: str, encoding: str) -> str:
    """The text as that encoding can show it."""
    try:
        text.encode(encoding)
        return text
    except UnicodeEncodeError:
        for glyph, likeness in ASCII.items():
            text = text.replace(glyph, likeness)
        return text.encode(encoding, "replace").decode(encoding)


def clean(text: str) -> str:
    """The text without control characters, which would steer the terminal."""
    if text.isprintable():
        return text
    return "".join(ch if ch.isprintable() or ch == "\n" else "?" for ch in text)


def display_width(text: str) -> int:
    """Columns that a text takes in a terminal."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(ch) else 2 if unicodedata.east_asian_width(ch) in "WF" else 1 for ch in text)


def pad(text: str, width: int) -> str:
    """The text with spaces up to a display width."""
    return text + " " * (width - display_width(text))


def crop(text: str, width: int, ellipsis: str = "…") -> str:
    """The text, cut to a display width."""
    if display_width(text) <= width:
        return text
    while text and display_width(text) + len(ellipsis) > width:
        text = text[:-1]
    return text.rstrip() + ellipsis


def wrap(text: str, width: int) -> list[str]:
    """Lines of a text; line ends in it are kept, words are not broken."""
    lines: list[str] = []
    for paragraph in clean(text).splitlines() or [""]:
        line = ""
        for word in paragraph.split():
            if line and display_width(line) + 1 + display_width(word) > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
    return lines
