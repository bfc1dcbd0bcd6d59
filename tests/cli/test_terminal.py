"""The terminal of a sign-in: typed lines, and whether a browser would show."""

from __future__ import annotations

import asyncio
import os

import pytest

from bearerd.cli.terminal import has_browser, typed_lines


async def test_typed_lines_end_with_what_they_come_from() -> None:
    """Whole lines, however they were cut on the way."""
    receiver, sender = os.pipe()
    os.write(sender, b"one\ntwo")
    lines = typed_lines(receiver)
    try:
        assert await anext(lines) == "one"
        os.write(sender, b" parts\nrest")
        assert await anext(lines) == "two parts"
    finally:
        os.close(sender)
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(anext(lines), 20)
    os.close(receiver)


@pytest.mark.parametrize(
    ("environ", "platform", "shows"),
    [
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "1 2 3 4"}, "linux", False),
        ({}, "linux", False),
        ({}, "darwin", True),
        ({"SSH_TTY": "/dev/pts/1"}, "darwin", False),
    ],
)
def test_a_browser_is_opened_only_where_it_shows(
    environ: dict[str, str], platform: str, shows: bool
) -> None:
    """Over ssh it would open on another screen, and without one in the terminal."""
    assert has_browser(environ, platform) is shows
