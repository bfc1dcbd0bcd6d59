"""docs/http.md names a test for every item, and the test says that it shows it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "http.md"
ITEMS = 145

ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def rows() -> list[tuple[int, list[tuple[str, str]]]]:
    """Return each row's number, and the tests that it names: file and name."""
    return [
        (int(number), NAMED.findall(tests))
        for number, _, _, tests in ROW.findall(PAGE.read_text())
    ]


def docstrings(file: str) -> dict[str, str]:
    """Return the docstring of every function in a test file, by name."""
    tree = ast.parse((TESTS / file).read_text())
    return {
        node.name: ast.get_docstring(node) or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_every_item_has_its_row_in_order() -> None:
    """None is left out, and none stands twice."""
    assert [number for number, _ in rows()] == list(range(1, ITEMS + 1))


def test_every_row_names_tests_that_exist() -> None:
    """A test that was renamed would leave a promise without proof."""
    for number, tests in rows():
        assert tests, f"item {number} names no test"
        for file, name in tests:
            assert name in docstrings(file), f"item {number}: {file}::{name}"


def test_every_test_on_the_wire_says_which_items_it_shows() -> None:
    """Of the conformance suite's; other suites have their own words."""
    for number, tests in rows():
        for file, name in tests:
            if file.startswith("wire/"):
                told = re.match(r"Items? ([\d, and]+)", docstrings(file)[name])
                assert told, f"{file}::{name}"
                assert str(number) in re.findall(r"\d+", told[1]), f"{name}: {number}"
