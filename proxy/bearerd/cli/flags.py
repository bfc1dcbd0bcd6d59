"""Settings as flags: the one way in which every command takes them.

A flag is as strong as it gets: flag over environment over file over default.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import typer

from bearerd.settings import Settings, describe, load_settings
from bearerd.settings.about import About

STORE: Final = ("store", "keys_file", "profiles")
"""What a command needs to find the files that the daemon uses."""

AUTHORITY: Final = (
    "issuer_url",
    "token_url",
    "client_id",
    "authority_timeout_seconds",
    "upstream_proxy",
    "ca_file",
)
"""What a command needs to call the authority."""

Profile: TypeAlias = Annotated[
    str, typer.Option("--profile", metavar="NAME", help="Which login it is about.")
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
    *names: str,
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command the settings as its first argument, and flags for them.

    Flags for *names*, or for all settings if none is named. Whatever has no flag here
    still comes from the environment and the file.
    """

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        told = [one for one in describe() if not names or one.name in names]
        signature = inspect.signature(command, eval_str=True)
        own = list(signature.parameters.values())[1:]

        @functools.wraps(command)
        def run(**given: Any) -> int:
            config = given.pop("config")
            flags = {one.name: given.pop(one.name) for one in told}
            flags = {name: value for name, value in flags.items() if value is not None}
            return command(load_settings(flags, config=config), **given)

        parameters = [*own, _parameter("config", Config), *map(_flag, told)]
        # typer reads the parameters of a command from these two.
        described: Any = run
        described.__signature__ = inspect.Signature(parameters)
        described.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate


def _flag(about: About) -> inspect.Parameter:
    unit = f" {about.unit}" if about.unit in {"seconds", "bytes"} else ""
    option = typer.Option(
        f"--{about.name.replace('_', '-')}",
        metavar=_metavar(about),
        help=f"{about.help} Default: {about.default}{unit}.",
        show_default=False,
    )
    return _parameter(about.name, Annotated[str | None, option])


def _parameter(name: str, annotation: object) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _metavar(about: About) -> str:
    by_ending = {
        "listen": "ADDRESS",
        "_url": "URL",
        "_proxy": "URL",
        "_file": "PATH",
        "store": "PATH",
        "_hosts": "HOST,...",
        "_origins": "ORIGIN,...",
        "profiles": "NAME,...",
        "_key": "KEY",
    }
    if about.default == "true":
        return "BOOLEAN"
    for ending, metavar in by_ending.items():
        if about.name.endswith(ending):
            return metavar
    return about.unit.upper() or "TEXT"


__all__ = ["AUTHORITY", "STORE", "Profile", "Settings", "with_settings"]
