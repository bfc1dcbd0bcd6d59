"""Settings as flags, for every command in the same way.

A flag has priority over the environment, the environment over the file, and the file over
the default.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer

from bearerd.settings import list_settings, load_settings
from bearerd.settings.metadata import SettingInfo

STORE: Final = ("store", "keys_file", "profiles")
"""The settings that a command needs to find the daemon's files."""

AUTHORITY: Final = (
    "issuer_url",
    "token_url",
    "client_id",
    "upstream_proxy",
    "ca_file",
)
"""The settings that a command needs to know and to call the authority."""

AUTHORITY_TIMEOUT: Final = "authority_timeout_seconds"
"""The setting that limits a wait. What waits differs from command to command, so each
command that has the flag gives it a help text of its own."""

CALL_AND_LOCK: Final = (
    "The longest that each call to the authority may take, and the wait for the lock of "
    "the store."
)
"""The help text of `AUTHORITY_TIMEOUT` where a person signs in or out."""

Profile: TypeAlias = Annotated[
    str, typer.Option("--profile", metavar="NAME", help="The profile of the login.")
]

Config: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="PATH",
        help="The TOML file with settings (environment: BEARERD_CONFIG).",
    ),
]


def with_settings(
    *names: str, help_texts: Mapping[str, str] | None = None
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Pass the settings to a command as its first argument, and add flags for them.

    The flags are those of *names* and *help_texts*, or of all settings if none is named.
    *help_texts* replace the texts of settings whose own text is not true for the command.
    A setting without a flag still comes from the environment or the file.
    """
    texts = help_texts or {}
    wanted = {*names, *texts}

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        infos = [info for info in list_settings() if not wanted or info.name in wanted]
        signature = inspect.signature(command, eval_str=True)
        own = list(signature.parameters.values())[1:]

        @functools.wraps(command)
        def run(**arguments: Any) -> int:
            config = arguments.pop("config")
            flags = {info.name: arguments.pop(info.name) for info in infos}
            flags = {name: value for name, value in flags.items() if value is not None}
            return command(load_settings(flags, config=config), **arguments)

        flags = [_flag(info, texts.get(info.name, info.help)) for info in infos]
        parameters = [*own, _parameter("config", Config), *flags]
        # typer reads the parameters of a command from these two attributes.
        described: Any = run
        described.__signature__ = inspect.Signature(parameters)
        described.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate


def _flag(info: SettingInfo, help_text: str) -> inspect.Parameter:
    option = typer.Option(
        f"--{info.name.replace('_', '-')}",
        metavar=info.metavar,
        help=f"{help_text} Default: {info.default_with_unit}.",
        show_default=False,
    )
    return _parameter(info.name, Annotated[str | None, option])


def _parameter(name: str, annotation: object) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )
