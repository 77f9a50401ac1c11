"""backprop-doctor: which line of a hand-written network is wrong, why, and what makes it right.

Each public name is loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backprop_doctor.checking import check
    from backprop_doctor.checks import Check, Checkup
    from backprop_doctor.errors import CannotCheckError, DoctorError, UsageError
    from backprop_doctor.gradient_check import gradcheck
    from backprop_doctor.gradient_report import Entry, GradientReport, GradientVerdict
    from backprop_doctor.layer_check import check_layer
    from backprop_doctor.records import (
        Evidence,
        FileReport,
        Finding,
        Fix,
        LineVerdict,
        Network,
        ParameterVerdict,
        Position,
        Report,
    )
    from backprop_doctor.tracing import Chart, trace

    __version__: str

__all__ = [
    "CannotCheckError",
    "Chart",
    "Check",
    "Checkup",
    "DoctorError",
    "Entry",
    "Evidence",
    "FileReport",
    "Finding",
    "Fix",
    "GradientReport",
    "GradientVerdict",
    "LineVerdict",
    "Network",
    "ParameterVerdict",
    "Position",
    "Report",
    "UsageError",
    "__version__",
    "check",
    "check_layer",
    "gradcheck",
    "trace",
]

_HOMES = {
    "Chart": "tracing",
    "Check": "checks",
    "Checkup": "checks",
    "Entry": "gradient_report",
    "GradientReport": "gradient_report",
    "GradientVerdict": "gradient_report",
    "check": "checking",
    "check_layer": "layer_check",
    "gradcheck": "gradient_check",
    "trace": "tracing",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    if name == "__version__":
        value: object = _version()
    else:
        home = _HOMES.get(name) or ("errors" if name.endswith("Error") else "records")
        value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("backprop-doctor")
    except metadata.PackageNotFoundError:  # a source tree that was never installed
        return "0+unknown"
