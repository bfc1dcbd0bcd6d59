"""The package's source, read as syntax: what is made, and what is read."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "proxy" / "bearerd"


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def names_called() -> set[str]:
    """Return the names of all functions and classes that the package calls."""
    functions = [
        node.func
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call)
    ]
    names = {each.id for each in functions if isinstance(each, ast.Name)}
    return names | {each.attr for each in functions if isinstance(each, ast.Attribute)}


def attributes_read(is_wanted: Callable[[Path], bool]) -> set[str]:
    """Return the names of all attributes that the wanted modules read.

    *is_wanted* gets the path of a module, relative to the package.
    """
    return {
        node.attr
        for path in PACKAGE.rglob("*.py")
        if is_wanted(path.relative_to(PACKAGE))
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
