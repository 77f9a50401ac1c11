"""Check the public docstrings with numpydoc: run as a script."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

from numpydoc.validate import validate

PACKAGE = Path(__file__).parent.parent / "backprop_doctor"
# Summaries may be nouns; trivial sections (see also, examples, extended summaries) are left to judgement.
PASSED_OVER = {"GL01", "GL02", "GL03", "GL08", "SS03", "SS05", "SS06", "ES01", "SA01", "EX01", "RT02", "RT03", "RT05",
               "PR01", "PR02", "PR05", "PR06", "PR07", "PR08", "PR09", "PR10", "RT01", "YD01"}  # fmt: skip


def public_names() -> list[str]:
    """Dotted names of all public functions and classes, found without importing."""
    names = []
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        if "._" in module or "__main__" in module:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                names.append(f"{module}.{node.name}")
    return names


def main() -> int:
    """Print what numpydoc finds; exit code 1 if there is anything."""
    failed = 0
    for name in public_names():
        importlib.import_module(name.rpartition(".")[0])
        for code, message in validate(name)["errors"]:
            if code not in PASSED_OVER:
                print(f"{name}: {code} {message}")
                failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
