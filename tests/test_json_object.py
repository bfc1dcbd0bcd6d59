"""The one JSON reader: which bytes are an object, and that none of them raise."""

from __future__ import annotations

import pytest

from bearerd.credential.store import auth_json
from bearerd.credential.store.journal_entry import JournalEntry
from bearerd.credential.store.state import StoreState
from bearerd.credential.token import claims
from bearerd.errors import StoreError
from bearerd.json_object import json_object, load_json
from bearerd.keys.file import KeyFile
from tests.credential.stand_ins import encoded

DEEP = [b"[" * 200_000, b'{"a":' * 200_000]
DEEP_IDS = ["arrays", "objects"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"a": 1}', {"a": 1}),
        ('{"a": 1}', {"a": 1}),
        ('{"ü": 1}'.encode("utf-16"), {"ü": 1}),
        (b"{}", {}),
        (b' {"a": {"b": []}}\n', {"a": {"b": []}}),
        (b"[]", None),
        (b'[{"a": 1}]', None),
        (b"null", None),
        (b'"text"', None),
        (b"7", None),
        (b"", None),
        (b'{"a": ', None),
        (b'{"a": 1} {"b": 2}', None),
        (b"<html></html>", None),
        (b'{"a": "\xff"}', None),
        (b'{"a": ' + b"9" * 5000 + b"}", None),
    ],
)
def test_an_object_is_returned_and_everything_else_is_none(
    content: bytes | str, expected: dict[str, object] | None
) -> None:
    """The long number is past the interpreter's limit of digits, a ValueError."""
    assert json_object(content) == expected


@pytest.mark.parametrize("content", DEEP, ids=DEEP_IDS)
def test_a_document_that_is_nested_too_deeply_never_raises(content: bytes) -> None:
    """`json.loads` raises RecursionError for each of them."""
    assert json_object(content) is None
    with pytest.raises(ValueError, match="nested too deeply"):
        load_json(content)


def test_any_value_can_be_loaded() -> None:
    """For callers that tell broken JSON from another kind of value."""
    assert load_json(b"[1, null]") == [1, None]
    with pytest.raises(ValueError, match="Expecting value"):
        load_json(b"")


@pytest.mark.parametrize("content", DEEP, ids=DEEP_IDS)
def test_deep_json_is_unreadable_to_every_reader(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Files and tokens alike; responses of the authority are tested beside its client."""
    with pytest.raises(auth_json.InvalidDocument, match="not valid JSON"):
        auth_json.decode(content)
    assert StoreState.from_json(content) == StoreState()
    assert JournalEntry.from_json(content) is None
    assert claims(f"e30.{encoded(content)}.c2ln") == {}
    keys_file = tmp_path_factory.mktemp("keys") / "keys.json"
    keys_file.write_bytes(content)
    with pytest.raises(StoreError, match=r"keys\.json"):
        KeyFile(keys_file).read()
