"""The address of a listener: its spellings, who can reach it, and what is refused."""

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
def test_an_address_prints_as_it_is_spelled(
    text: str, *, loopback: bool, base_url: str | None
) -> None:
    """It has a base URL for clients, and is on loopback or not."""
    address = parse_address(text)
    assert str(address) == text
    assert address.is_loopback is loopback
    assert address.base_url == base_url


def test_spellings_of_one_address_are_equal() -> None:
    """An address that is listed twice is found."""
    assert parse_address("[0:0:0:0:0:0:0:1]:1") == parse_address("[::1]:1")
    assert parse_address("LOCALHOST:1") == Address("tcp", "localhost", 1)


@pytest.mark.parametrize("text", ["", ":1", "host:1", "::1:1", "1.2.3.4", "[::1]", "x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """A name other than localhost is none: nothing is looked up."""
    with pytest.raises(ValueError, match="PORT"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("127.0.0.1:65536", "a port from 0 to 65535"),
        ("unix:b.sock", "an absolute path after unix:"),
        ("unix:/a\0b", "an absolute path after unix:"),
        ("unix:/" + "x" * 103, "a socket path of at most 103 bytes"),
    ],
)
def test_a_refusal_says_what_is_allowed(text: str, allowed: str) -> None:
    """A port or a path out of its range."""
    with pytest.raises(ValueError, match=allowed):
        parse_address(text)


def test_a_socket_path_of_the_longest_length_is_an_address() -> None:
    """103 bytes and a NUL fit on every system."""
    assert parse_address("unix:/" + "x" * 102).path == "/" + "x" * 102
