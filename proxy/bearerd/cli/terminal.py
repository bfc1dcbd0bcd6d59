"""The terminal of a sign-in: typed lines, and a browser.

Both block in daemon threads, so that the command can end at any time.
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
    """Yield each line that is read from *descriptor*, until its end."""
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes] = asyncio.Queue()

    def read() -> None:
        # Not by sys.stdin: this thread would hold its lock when the interpreter ends.
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
    """Open *url* in a browser, and return without waiting for it."""
    threading.Thread(
        target=webbrowser.open, args=(url,), daemon=True, name="browser"
    ).start()


def has_browser(environ: Mapping[str, str], platform: str) -> bool:
    """Return True if a browser would open on the screen of this user.

    1. Not over ssh: it would open on another machine.
    2. On macOS and Windows there is a screen.
    3. Elsewhere only with X11 or Wayland: a browser in the terminal would take the
       terminal from the command.

    *platform* is `sys.platform`.
    """
    if environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"):  # 1
        return False
    if platform in {"darwin", "win32"}:  # 2
        return True
    return bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))  # 3
