"""What all commands share: help, wrong usage, errors, and exit codes."""

from __future__ import annotations

import ast
import asyncio
import subprocess
import sys
import types
from pathlib import Path

import pytest
import typer

from bearerd import __version__
from bearerd.cli import COMMANDS
from bearerd.errors import ConfigurationError, ExitCode, LoginRequired, StoreError
from bearerd.settings import list_settings
from tests.cli.conftest import Shell
from tests.support import Finished, call_command
from tests.support.process import COMMAND, ROOT


async def test_the_version_is_printed(shell: Shell) -> None:
    """On stdout, alone."""
    done = await shell.run("--version")
    assert (done.code, done.stdout, done.stderr) == (0, f"bearerd {__version__}\n", "")


@pytest.mark.parametrize("flag", ["--help", "-h"])
async def test_help_lists_every_command(shell: Shell, flag: str) -> None:
    """Each with its line, on stdout."""
    done = await shell.run(flag)
    assert (done.code, done.stderr) == (0, "")
    for name, line in COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert line in " ".join(done.stdout.split())


@pytest.mark.parametrize("args", [(), ("key",)])
async def test_a_missing_command_is_wrong_usage(
    shell: Shell, args: tuple[str, ...]
) -> None:
    """The help goes to stderr then, because it is no result."""
    done = await shell.run(*args)
    assert (done.code, done.stdout) == (2, "")
    assert "Usage: bearerd" in done.stderr


@pytest.mark.parametrize("name", [*COMMANDS, "key create", "key revoke"])
async def test_the_help_shows_placeholders_and_no_python_types(
    shell: Shell, name: str
) -> None:
    """NAME, N or SECONDS, and the bounds after the text."""
    done = await shell.run(*name.split(), "--help")
    assert "range>" not in done.stdout
    assert "{NAME}" not in done.stdout
    if " " in name:
        assert f"Usage: bearerd {name} [OPTIONS] NAME\n" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
async def test_every_command_has_help_with_an_example(shell: Shell, name: str) -> None:
    """It works without valid settings, which may be what the user is looking for."""
    done = await shell.run(name, "--help", nonsense=1)
    assert (done.code, done.stderr) == (0, "")
    if name == "key":
        for part in ("create", "list", "revoke"):
            done = await shell.run(name, part, "--help", nonsense=1)
            assert f"Example: bearerd key {part}" in done.stdout
    else:
        assert f"bearerd {name}" in done.stdout.partition("Example")[2]


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("stats",), "No such command 'stats'. Did you mean 'status'?"),
        (("status", "--jsn"), "No such option: --jsn"),
        (("serve", "--lisen", "x"), "--listen"),
        (("status", "extra"), "Got unexpected extra argument"),
        (("key", "create"), "Missing argument 'NAME'"),
        (("serve", "--listen"), "requires an argument"),
        (("demo", "--agents", "1"), "Invalid value for '--agents'"),
    ],
)
async def test_wrong_usage_is_one_line(
    shell: Shell, args: tuple[str, ...], reason: str
) -> None:
    """With the program's name, the reason, and where to read on; exit code 2."""
    done = await shell.run(*args)
    assert (done.code, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("bearerd: ")
    assert reason in line
    assert line.endswith("see `bearerd --help`")


@pytest.mark.parametrize(
    "args",
    [("serve",), ("status",), ("token",), ("adopt",), ("doctor",), ("key", "list")],
)
async def test_an_invalid_setting_is_one_line_in_every_command(
    shell: Shell, args: tuple[str, ...]
) -> None:
    """From the environment and from a file; exit code 2."""
    done = await shell.run(*args, refresh_window_seconds="ten")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == (
        'bearerd: setting refresh_window_seconds = "ten" (from environment '
        "BEARERD_REFRESH_WINDOW_SECONDS): expected a number of seconds from 0 to 86400\n"
    )
    config = shell.folder / "bearerd.toml"
    config.write_text("lisen = 'x'")
    done = await shell.run(*args, "--config", str(config))
    assert (done.code, done.stderr) == (
        2,
        f"bearerd: unknown setting lisen (from file {config}); did you mean listen?\n",
    )


async def test_every_setting_is_a_flag_of_serve(shell: Shell) -> None:
    """With its help, its default and its unit."""
    done = await shell.run("serve", "--help")
    text = " ".join(done.stdout.split())
    for info in list_settings():
        assert f"--{info.name.replace('_', '-')} " in text
        assert info.help in text
        assert f"Default: {info.default_with_unit}." in text


@pytest.mark.parametrize("flag", ["--keys-file", "--keys_file"])
async def test_a_flag_beats_the_environment(shell: Shell, flag: str) -> None:
    """With hyphens, or spelled as the setting is."""
    done = await shell.run("key", "list", keys_file="/")
    assert done.code == 1
    assert done.stderr.startswith("bearerd: /: the client keys cannot be read")
    done = await shell.run("key", "list", flag, "/nowhere/of/flag", keys_file="/")
    assert (done.code, done.stdout) == (0, "")


async def test_a_closed_pipe_is_no_error_message(shell: Shell) -> None:
    """`bearerd status | head -0` prints nothing about the pipe. A process of its own:
    the interpreter's end is a part of it.
    """
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "status",
        cwd=ROOT,
        env={"HOME": str(shell.folder), "BEARERD_ADMIN_LISTEN": "none"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout._transport.close()  # type: ignore[attr-defined]
    assert process.stderr is not None
    stderr = await process.stderr.read()
    assert (await process.wait(), stderr) == (1, b"")


LOADED = """
import sys
from bearerd.cli import COMMANDS
from bearerd.cli.program import run
run(COMMANDS, sys.argv[1:])
heavy = {"pydantic", "aiohttp", "structlog", "rich", "asyncio", "prometheus_client"}
print(sorted(heavy & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("args", "loaded"),
    [
        (["--version"], set()),
        (["--help"], set()),
        (["token", "--help"], {"asyncio", "pydantic"}),
        (["status", "--help"], {"asyncio", "pydantic"}),
    ],
)
def test_a_command_loads_only_the_libraries_that_it_uses(
    args: list[str], loaded: set[str]
) -> None:
    """In a new interpreter, which has loaded nothing yet.

    `loaded` is what may be there: some releases of pydantic-settings import asyncio.
    """
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *args],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=True,
    )
    assert set(ast.literal_eval(done.stderr.splitlines()[-1])) <= loaded


def run_failing_command(
    home: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> Finished:
    """Run a program whose one command raises *error*."""

    def fail() -> int:
        raise error

    def register(program: typer.Typer) -> None:
        program.command("failing")(fail)

    name = "bearerd.cli.commands.failing"
    module = types.ModuleType(name)
    module.register = register  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, module)
    return call_command(home, "failing", commands={"failing": "Fail."})


@pytest.mark.parametrize(
    ("error", "code", "stderr"),
    [
        (LoginRequired("sign in", reason="missing"), 3, "bearerd: sign in\n"),
        (StoreError("two\nlines"), 1, "bearerd: two lines\n"),
        (ConfigurationError("wrong"), 2, "bearerd: wrong\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    stderr: str,
) -> None:
    """Without a traceback; Ctrl-C prints nothing."""
    done = run_failing_command(tmp_path, monkeypatch, error)
    assert (done.code, done.stdout, done.stderr) == (code, "", stderr)


def test_a_defect_shows_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception that is none of bearerd's errors is not caught."""
    done = run_failing_command(tmp_path, monkeypatch, ZeroDivisionError())
    assert done.code == 1
    assert "Traceback" in done.stderr


def test_the_exit_codes_are_the_published_ones() -> None:
    """Scripts rely on them."""
    codes = {code.name: code.value for code in ExitCode}
    assert codes == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "SIGN_IN_NEEDED": 3,
        "INTERRUPTED": 130,
    }
