"""Every page of the repository: its links lead somewhere, and what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bearerd.cli import COMMANDS
from bearerd.settings import Settings
from tests.docs.pages import (
    NAMED_TEST,
    PACKAGE,
    PAGES,
    ROOT,
    anchors,
    docstrings,
    name_of,
    prose,
    section,
)

EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=name_of)

LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
PATH = re.compile(r"`((?!/)[\w./-]+(?:\.(?:py|md|toml|yaml|lock)|/|/\w+))`")
"""A file or folder of the repository; not a command, a setting or an address."""

CODE = re.compile(r"^```.*?^```$|^    [^\n]*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)

NO_SETTINGS = {"CONFIG", "FUZZ_EXAMPLES", "FUZZ_SECONDS"}
"""Variables with our prefix that are no settings: of the command line, and of tests."""


def code(page: Path) -> str:
    """Return the page's code, blocks and spans."""
    return "\n".join(CODE.findall(page.read_text()))


@EVERY_PAGE
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file or folder that exists, and to a heading that it has."""
    for link in LINK.findall(prose(page)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


@EVERY_PAGE
def test_every_test_that_is_named_exists(page: Path) -> None:
    """A test that was renamed would leave a promise without proof."""
    for file, name in NAMED_TEST.findall(page.read_text()):
        assert name in docstrings(file), f"{file}::{name}"


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md"], ids=name_of)
def test_every_path_that_is_named_exists(page: Path) -> None:
    """Below the repository, the package, or the settings, as the page writes it.

    Architecture's page has a test of its own.
    """
    paths = [path for path in PATH.findall(prose(page)) if "NAME" not in path]
    assert len(paths) > 10
    rooms = [ROOT, PACKAGE, PACKAGE / "settings", ROOT / "tests"]
    for path in paths:
        assert any((room / path).exists() for room in rooms), path


@EVERY_PAGE
def test_every_command_that_is_named_exists(page: Path) -> None:
    """`bearerd COMMAND`, and `make TARGET`."""
    # A container of that name runs other programs too.
    text = re.sub(r"docker exec (-\w+ )?bearerd", "", code(page))
    assert set(re.findall(r"\bbearerd ([a-z]+)\b", text)) <= set(COMMANDS)
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"(?<!\w)make ([a-z][a-z-]*)", code(page))) <= targets


def test_contributing_lists_every_target() -> None:
    """`make` lists those that have a line of help, and so does the page."""
    page = section(ROOT / "CONTRIBUTING.md", "## Commands")
    listed = re.findall(
        r"`make ([a-z-]+)`", "".join(re.findall(r"^\|[^|]+\|", page, re.MULTILINE))
    )
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)
    assert sorted(listed) == sorted(set(targets) - {"help"})


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name_of
)
def test_every_setting_that_is_named_exists(page: Path) -> None:
    """By its variable: no command runs in a shell that sets an unknown one.

    The changelog is left out, since it names settings that are gone.
    """
    named = set(re.findall(r"\bBEARERD_([A-Z_]*[A-Z])\b", page.read_text()))
    settings = {name.upper() for name in Settings.model_fields} | {"NAME"}
    assert named <= settings | NO_SETTINGS
