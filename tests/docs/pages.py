"""The pages of the repository: their text, their headings, and what they name."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "proxy" / "bearerd"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

NAMED_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")
"""A test as the pages name it: its file below tests/, and its name."""

FENCED = re.compile(r"^```.*?^```$|^    [^\n]*$", re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    """Return the page's path below the repository, as a test's id."""
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """Return the page without its code blocks."""
    return FENCED.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """Return the anchors of the page's headings, as code hosting sites make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading).lower() for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


def section(page: Path, heading: str) -> str:
    """Return what stands below *heading*, up to the next heading of its level."""
    level = heading.partition(" ")[0]
    _, found, rest = page.read_text().partition(f"\n{heading}\n")
    assert found, f"{name_of(page)} has no section {heading!r}"
    return re.split(rf"^{level} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def block(text: str) -> list[str]:
    """Return the lines of the first fenced block in *text*."""
    found = re.search(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found, "there is no fenced block"
    return found[1].splitlines()


@cache
def docstrings(file: str) -> dict[str, str]:
    """Return the docstring of each function in a file below tests/, by name."""
    return {
        node.name: ast.get_docstring(node) or ""
        for node in ast.walk(ast.parse((ROOT / "tests" / file).read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
