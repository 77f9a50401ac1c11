"""The catalogue of faults: one rule per file."""
from __future__ import annotations
import importlib, pkgutil
from dataclasses import dataclass

@dataclass(frozen=True)
class Info:
    code: str
    name: str
    severity: str

def load():
    names = [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]
    return [importlib.import_module(f"{__name__}.{n}") for n in names]

def info(rule):
    code, name = rule.__doc__.split(":")[0].split()
    return Info(code, name, rule.SEVERITY)
