"""backprop-doctor: which line of a hand-written network is wrong, why, and what makes it right."""

from __future__ import annotations

from typing import Any

__all__ = ["FileReport", "Finding", "Report", "__version__", "check"]


def __getattr__(name: str) -> Any:
    # Each name is loaded on first use: importing the package must stay cheap.
    if name == "__version__":
        from importlib.metadata import version

        return version("backprop-doctor")
    if name in ("FileReport", "Finding", "Report"):
        from backprop_doctor import records

        return getattr(records, name)
    if name == "check":
        from backprop_doctor.checking import check

        return check
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
