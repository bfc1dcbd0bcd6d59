"""docs/architecture.md: the map is complete, and everything that it names exists."""

from __future__ import annotations

import ast
import re
import tomllib

from tests.docs.pages import PACKAGE, ROOT, block, prose, section

PAGE = ROOT / "docs" / "architecture.md"

OURS = re.compile(r"`([A-Z][A-Za-z]+)(?:\.([a-z_]+))?`")
"""A class, or a class and one of its methods."""

FOREIGN = {"CancelledError"}
"""Classes of libraries that the page speaks of."""


def mapped() -> list[str]:
    """Return the paths in the map, in its order, relative to the package."""
    paths: list[str] = []
    rooms: list[str] = []
    for line in block(section(PAGE, "## The map"))[1:]:
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        del rooms[depth - 1 :]
        paths.append("/".join([*rooms, name.rstrip("/")]))
        rooms.append(name.rstrip("/"))
    return paths


def defined() -> dict[str, set[str]]:
    """Return every class and type of the package, with what its body defines."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, set()).update(
                    child.name
                    for child in node.body
                    if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
                )
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.setdefault(node.target.id, set())
    return found


def test_the_map_names_every_room_and_every_module_beside_the_rooms() -> None:
    """Once each. A room that is missing on the map would be found by chance only."""
    rooms = {path.parent for path in PACKAGE.rglob("__init__.py")} - {PACKAGE}
    modules = {path for path in PACKAGE.glob("*.py") if not path.name.startswith("__")}
    there_are = {path.relative_to(PACKAGE).as_posix() for path in rooms | modules}
    assert sorted(mapped()) == sorted(there_are)


def test_the_import_order_is_the_one_that_is_checked() -> None:
    """The page shows the layers of import-linter's first contract."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contract = pyproject["tool"]["importlinter"]["contracts"][0]
    layers = [layer.replace("bearerd.", "") for layer in contract["layers"]]
    assert block(section(PAGE, "## The import order")) == layers


def test_the_number_of_contracts_is_right() -> None:
    """The page counts those beside the layers."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    words = ["No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight"]
    others = len(pyproject["tool"]["importlinter"]["contracts"]) - 1
    assert f"{words[others]} more contracts" in section(PAGE, "## The import order")


def test_every_path_on_the_page_exists() -> None:
    """Below the package, or below the repository."""
    paths = re.findall(r"`([\w./-]+(?:\.(?:py|md|toml)|/))`", prose(PAGE))
    paths += re.findall(r"\b([\w/]+\.py)\b", PAGE.read_text())
    assert len(paths) > 20
    for path in paths:
        assert (PACKAGE / path).exists() or (ROOT / path).exists(), path


def test_every_class_and_method_on_the_page_exists() -> None:
    """A name that was changed in the code is changed here."""
    there_are = defined()
    named = OURS.findall(prose(PAGE))
    assert len(named) > 20
    for name, method in named:
        if name not in FOREIGN:
            assert name in there_are, name
            assert not method or method in there_are[name], f"{name}.{method}"


def test_the_glossary_is_in_order_and_defines_each_word_once() -> None:
    """A word that is hard to find is asked for."""
    words = re.findall(
        r"^\| \*\*(.+?)\*\* \|", section(PAGE, "## Glossary"), re.MULTILINE
    )
    assert len(words) > 30
    assert words == sorted(set(words))
