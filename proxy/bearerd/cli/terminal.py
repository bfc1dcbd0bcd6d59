"""What a sign-in needs of the terminal: lines that are typed, and a browser.

Both wait in threads that nobody waits for, so that the command can end at any time.
"""

from __future__ import annotations

import asyncio
import os
import threading
import webbrowser
from collections.abc import AsyncIterator, Mapping
from typing import Final

CHUNK_BYTES: Final = 4096


async def typed_lines(descriptor: int) -> AsyncIterator[str]:
    """Give each line that comes by *descriptor*, until its end."""
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes] = asyncio.Queue()

    def read() -> None:
        # By the descriptor: the lock of sys.stdin would be held at the program's end.
        chunk = b"-"
        while chunk:
            try:
                chunk = os.read(descriptor, CHUNK_BYTES)
            except OSError:
                chunk = b""
            if loop.is_closed():
                return
            loop.call_soon_threadsafe(chunks.put_nowait, chunk)

    threading.Thread(target=read, daemon=True, name="typed lines").start()
    rest = b""
    while chunk := await chunks.get():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")


def open_browser(url: str) -> None:
    """Open *url*, without waiting for what comes of it."""
    threading.Thread(
        target=webbrowser.open, args=(url,), daemon=True, name="browser"
    ).start()


def has_browser(environ: Mapping[str, str], platform: str) -> bool:
    """Say whether a browser would show where this person sits.

    Not over ssh; and on systems with X11 or Wayland only where one of them is, since a
    browser in the terminal would take it away from us. *platform* as in `sys.platform`.
    """
    if environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"):
        return False
    if platform in {"darwin", "win32"}:
        return True
    return bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))
