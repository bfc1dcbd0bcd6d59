"""The frame around every command: help, wrong use, errors and exit codes."""

from __future__ import annotations

import ast
import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from bearerd import __version__
from bearerd.cli import COMMANDS, program
from bearerd.errors import LoginRequired, StoreError
from bearerd.settings import describe
from bearerd.settings.about import About
from tests.cli.conftest import Shell
from tests.support.process import COMMAND, ROOT


async def test_the_version_is_printed(shell: Shell) -> None:
    """On stdout, alone."""
    done = await shell.run("--version")
    assert (done.code, done.stdout, done.stderr) == (0, f"bearerd {__version__}\n", "")


async def test_help_names_every_command(shell: Shell) -> None:
    """Each with its line, on stdout."""
    for flag in ("--help", "-h"):
        done = await shell.run(flag)
        assert (done.code, done.stderr) == (0, "")
        for name, line in COMMANDS.items():
            assert f"  {name} " in done.stdout
            assert line in " ".join(done.stdout.split())


async def test_no_command_is_wrong_use(shell: Shell) -> None:
    """The overview goes to stderr then, since it is no response."""
    for args in ((), ("key",)):
        done = await shell.run(*args)
        assert (done.code, done.stdout) == (2, "")
        assert "Usage: bearerd" in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
async def test_every_command_explains_itself_with_an_example(
    shell: Shell, name: str
) -> None:
    """Without a look at settings, which may be what is wrong."""
    done = await shell.run(name, "--help", nonsense=1)
    assert (done.code, done.stderr) == (0, "")
    if name == "key":
        for part in ("create", "list", "revoke"):
            told = await shell.run(name, part, "--help", nonsense=1)
            assert f"Example: bearerd key {part}" in told.stdout
    else:
        assert f"bearerd {name}" in done.stdout.partition("Example")[2]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("stats",), "No such command 'stats'. Did you mean 'status'?"),
        (("status", "--jsn"), "No such option: --jsn"),
        (("serve", "--lisen", "x"), "--listen"),
        (("status", "extra"), "Got unexpected extra argument"),
        (("key", "create"), "Missing argument 'NAME'"),
        (("serve", "--listen"), "requires an argument"),
    ],
)
async def test_wrong_use_is_one_line(
    shell: Shell, args: tuple[str, ...], said: str
) -> None:
    """In the program's name, with where to look, and exit code 2."""
    done = await shell.run(*args)
    assert (done.code, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("bearerd: ")
    assert said in line
    assert line.endswith("see `bearerd --help`")


@pytest.mark.parametrize(
    "args", [("serve",), ("status",), ("token",), ("adopt",), ("key", "list")]
)
async def test_a_bad_setting_is_one_line_for_every_command(
    shell: Shell, args: tuple[str, ...]
) -> None:
    """From wherever it comes; exit code 2."""
    done = await shell.run(*args, refresh_window_seconds="ten")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == (
        'bearerd: setting refresh_window_seconds = "ten" (from environment '
        "BEARERD_REFRESH_WINDOW_SECONDS): allowed is a number of seconds from 0 to "
        "86400\n"
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
    told = " ".join(done.stdout.split())
    for about in describe():
        assert f"--{about.name.replace('_', '-')} " in told
        assert about.help in told
        assert f"Default: {_default(about)}." in told


def _default(about: About) -> str:
    unit = f" {about.unit}" if about.unit in {"seconds", "bytes"} else ""
    return f"{about.default}{unit}"


async def test_a_flag_beats_the_environment(shell: Shell) -> None:
    """Spelled with hyphens or as the setting is."""
    for flag in ("--keys-file", "--keys_file"):
        done = await shell.run("key", "list", flag, "/nowhere/of/flag", keys_file="/")
        assert (done.code, done.stdout) == (0, "")
        done = await shell.run("key", "list", keys_file="/")
        assert done.code == 1
        assert done.stderr.startswith("bearerd: /: the client keys cannot be read")


async def test_a_reader_that_leaves_gets_no_complaint(shell: Shell) -> None:
    """`bearerd status | head -0` says nothing of broken pipes."""
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
    said = await process.stderr.read()
    assert (await process.wait(), said) == (1, b"")


LIGHT = """
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
def test_what_is_not_wanted_is_not_loaded(args: list[str], loaded: set[str]) -> None:
    """Help comes at once, and a command loads what it uses.

    `loaded` is what may be there: some releases of pydantic-settings import asyncio.
    """
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, *args],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=True,
    )
    assert set(ast.literal_eval(done.stderr.splitlines()[-1])) <= loaded


def commands(tmp_path: Path, error: str) -> str:
    """Return a program whose one command raises *error*."""
    module = tmp_path / "failing.py"
    module.write_text(
        f"""
import sys, types
from bearerd.cli import program
from bearerd.errors import *

def fail() -> int:
    raise {error}

module = types.ModuleType("bearerd.cli.commands.failing")
module.register = lambda app: app.command("failing")(fail)
sys.modules["bearerd.cli.commands.failing"] = module
sys.exit(program.run({{"failing": "Fail."}}, ["failing"]))
"""
    )
    return str(module)


@pytest.mark.parametrize(
    ("error", "code", "stderr"),
    [
        ("LoginRequired('sign in', reason='missing')", 3, "bearerd: sign in\n"),
        ("StoreError('two\\nlines')", 1, "bearerd: two lines\n"),
        ("ConfigurationError('wrong')", 2, "bearerd: wrong\n"),
        ("KeyboardInterrupt", 130, ""),
    ],
)
def test_an_error_is_one_line_and_its_exit_code(
    tmp_path: Path, error: str, code: int, stderr: str
) -> None:
    """Without a traceback, whichever of ours it is; Ctrl-C says nothing."""
    done = subprocess.run(
        [sys.executable, commands(tmp_path, error)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", stderr)


def test_a_defect_shows_its_traceback(tmp_path: Path) -> None:
    """It is ours to mend, and nothing is hidden then."""
    done = subprocess.run(
        [sys.executable, commands(tmp_path, "ZeroDivisionError")],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_exit_codes_are_the_published_ones() -> None:
    """Scripts rely on them."""
    assert (program.FAILED, program.WRONG_USE, program.INTERRUPTED) == (1, 2, 130)
    assert LoginRequired("x", reason="missing").exit_code == 3
    assert StoreError("x").exit_code == 1
