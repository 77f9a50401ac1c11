"""Records to JSON, schema version 1, and back.

The keys are the fields of the records; a `Position` is laid flat into the object that holds it.
Keys may be added, never renamed: the names of the fields are the contract.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from functools import cache
from typing import Any

from backprop_doctor.records import FileReport, Position, Report

__all__ = ["SCHEMA_VERSION", "file_from_json", "file_to_json", "report_to_json", "summarise"]

SCHEMA_VERSION = 1


def file_to_json(report: FileReport) -> dict[str, Any]:
    """One program's report as plain data; numbers that are not finite become None."""
    return _encode_record(report)


def file_from_json(data: dict[str, Any]) -> FileReport:
    """The report that `file_to_json` wrote; unknown keys are passed over.

    Raises
    ------
    KeyError
        If a key without a default is missing.
    """
    return typing.cast(FileReport, _decode_record(FileReport, data))


def report_to_json(report: Report) -> dict[str, Any]:
    """The whole document, with versions and summary."""
    from backprop_doctor import __version__

    return {
        "schema_version": SCHEMA_VERSION,
        "tool_version": __version__,
        "files": [file_to_json(file) for file in report.files],
        "summary": summarise(report),
    }


def summarise(report: Report) -> dict[str, int]:
    """How many programs had which verdict, and how many errors and warnings were found."""
    verdicts = [file.verdict for file in report.files]
    severities = [finding.severity for file in report.files for finding in file.findings]
    return {
        "healthy": verdicts.count("healthy"),
        "faulty": verdicts.count("faulty"),
        "unknown": verdicts.count("unknown"),
        "errors": severities.count("error"),
        "warnings": severities.count("warning"),
    }


def _encode_record(record: Any) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Position):
            data.update(_encode_record(value))
        else:
            data[field.name] = _encode(value)
    return data


def _encode(value: Any) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if dataclasses.is_dataclass(value):
        return _encode_record(value)
    if isinstance(value, (tuple, list)):
        return [_encode(item) for item in value]
    if hasattr(value, "__index__"):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _decode_record(kind: Any, data: dict[str, Any]) -> Any:
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        hint = _hints(kind)[field.name]
        if hint is Position:
            values[field.name] = _decode_record(Position, data)
        elif field.name in data:
            values[field.name] = _decode(hint, data[field.name])
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise KeyError(f"{kind.__name__}.{field.name}")
    return kind(**values)


def _decode(hint: Any, value: Any) -> Any:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        if value is None:
            return None
        (hint,) = (kind for kind in typing.get_args(hint) if kind is not types.NoneType)
    if hint is float:
        return math.nan if value is None else float(value)
    if typing.get_origin(hint) is tuple:
        return tuple(_decode(typing.get_args(hint)[0], item) for item in value)
    return _decode_record(hint, value) if dataclasses.is_dataclass(hint) else value
