"""The command line in this process: `bearerd.cli` called with arguments, as a shell does.

A command takes its environment, its working folder and its output streams from the
process, and may leave a handler on the root logger. All of these are replaced for the
time of one call and restored after it. The clock, the network and the files are real.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import (
    ExitStack,
    chdir,
    contextmanager,
    redirect_stderr,
    redirect_stdout,
)
from pathlib import Path

from bearerd.cli import COMMANDS, program
from tests.support.process import Finished, environment

_one_at_a_time = threading.Lock()
"""Environment and streams belong to the process: two calls at once would share them."""


def call_command(
    home: Path,
    *args: str,
    settings: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    commands: Mapping[str, str] = COMMANDS,
) -> Finished:
    """Run `bearerd ARGS` in this process, in the folder *home*, to its end.

    *settings* and *environ* are all that its environment holds, beside the path. An
    exception that the command line does not handle ends as the interpreter shows it:
    exit code 1, and the traceback on stderr.
    """
    home.mkdir(parents=True, exist_ok=True)
    stdout, stderr = _stream(), _stream()
    with _one_at_a_time, ExitStack() as stack:
        given = environment(home, settings or {}) | dict(environ or {})
        stack.enter_context(_replaced_environment(given))
        stack.enter_context(_restored_log_handlers())
        stack.enter_context(chdir(home))
        stack.enter_context(redirect_stdout(stdout))
        stack.enter_context(redirect_stderr(stderr))
        try:
            code = program.run(commands, args)
        except Exception:  # noqa: BLE001 - what the interpreter does with it
            traceback.print_exc()
            code = 1
    return Finished(int(code), _text(stdout), _text(stderr))


async def run_in_process(
    home: Path,
    *args: str,
    settings: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Finished:
    """Run `bearerd ARGS` in a thread, while this loop goes on serving it."""
    return await asyncio.to_thread(
        call_command, home, *args, settings=settings, environ=environ
    )


def _stream() -> io.TextIOWrapper:
    """Return a stream over bytes, as the interpreter's own are; it is no terminal."""
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode()


@contextmanager
def _replaced_environment(environ: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _restored_log_handlers() -> Iterator[None]:
    """Remove the handlers that a command adds to the root logger."""
    root = logging.getLogger()
    before = list(root.handlers)
    try:
        yield
    finally:
        root.handlers[:] = before
