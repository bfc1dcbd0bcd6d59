"""docs/http.md has a row for each item, and the tests of a row name the item."""

from __future__ import annotations

import re

from tests.docs.pages import NAMED_TEST, ROOT, docstrings

PAGE = ROOT / "docs" / "http.md"
ITEMS = 145

ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)


def rows() -> list[tuple[int, list[tuple[str, str]]]]:
    """Return each row's number, and the tests that it names: file and name."""
    return [
        (int(number), NAMED_TEST.findall(tests))
        for number, _, _, tests in ROW.findall(PAGE.read_text())
    ]


def test_every_item_has_its_row_in_order() -> None:
    """No item is missing, and none has two rows."""
    assert [number for number, _ in rows()] == list(range(1, ITEMS + 1))


def test_every_row_names_tests_that_exist() -> None:
    """A row without a test would be a promise without proof."""
    for number, tests in rows():
        assert tests, f"item {number} names no test"
        for file, name in tests:
            assert name in docstrings(file), f"item {number}: {file}::{name}"


def test_every_test_on_the_wire_names_its_items() -> None:
    """For tests/wire only; the docstrings of other suites have another form."""
    for number, tests in rows():
        for file, name in tests:
            if file.startswith("wire/"):
                items = re.match(r"Items? ([\d, and]+)", docstrings(file)[name])
                assert items, f"{file}::{name}"
                assert str(number) in re.findall(r"\d+", items[1]), f"{name}: {number}"
