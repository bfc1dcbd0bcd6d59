"""Where a listener listens."""

from __future__ import annotations

import pytest

from bearerd.address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "loopback", "base_url"),
    [
        ("127.0.0.1:8787", True, "http://127.0.0.1:8787"),
        ("127.9.9.9:1", True, "http://127.9.9.9:1"),
        ("localhost:8787", True, "http://localhost:8787"),
        ("[::1]:8787", True, "http://[::1]:8787"),
        ("0.0.0.0:8787", False, "http://127.0.0.1:8787"),
        ("[::]:8787", False, "http://[::1]:8787"),
        ("192.0.2.1:80", False, "http://192.0.2.1:80"),
        ("[2001:db8::1]:80", False, "http://[2001:db8::1]:80"),
        ("unix:/run/bearerd.sock", True, None),
    ],
)
def test_an_address_is_spelled_one_way(
    text: str, *, loopback: bool, base_url: str | None
) -> None:
    """It prints as it is written, knows who can reach it, and where clients go."""
    address = parse_address(text)
    assert str(address) == text
    assert address.is_loopback is loopback
    assert address.base_url == base_url


def test_spellings_of_one_address_are_equal() -> None:
    """So that the same place is not listened on twice."""
    assert parse_address("[0:0:0:0:0:0:0:1]:1") == parse_address("[::1]:1")
    assert parse_address("LOCALHOST:1") == Address("tcp", "localhost", 1)


@pytest.mark.parametrize("text", ["", ":1", "host:1", "::1:1", "1.2.3.4", "[::1]", "x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """Names other than localhost too: nothing is looked up."""
    with pytest.raises(ValueError, match="PORT"):
        parse_address(text)
