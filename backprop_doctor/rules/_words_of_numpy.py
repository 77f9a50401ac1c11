"""The name by which a file knows numpy."""

from __future__ import annotations

import ast

__all__ = ["numpy_name"]


def numpy_name(tree: ast.AST) -> str:
    """What numpy is called in a file; empty where it is not imported as a whole."""
    names = (a for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names if a.name == "numpy")
    return next((alias.asname or "numpy" for alias in names), "")
