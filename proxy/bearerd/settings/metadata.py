"""What people are told about a setting, kept in the field itself.

Help texts, `config/bearerd.toml` and error messages are made from it, so that a name, a
default or a bound is written once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

GROUPS = (
    "Listeners",
    "Clients",
    "Credential",
    "Upstream and authority",
    "Limits",
    "Process",
    "Profiles",
)
"""The order in which people are told."""


@dataclass(frozen=True, slots=True)
class About:
    """One setting, in words."""

    name: str
    default: str
    unit: str
    help: str
    allowed: str
    group: str
    secret: bool


def setting(
    group: str,
    text: str,
    *,
    default: object = None,
    derive: Callable[[dict[str, Any]], object] | None = None,
    shown: str | None = None,
    allowed: str = "",
    unit: str = "",
    within: tuple[float, float] | None = None,
    secret: bool = False,
) -> Any:
    """Return a field of *group* that is explained by *text*.

    It is `Any`, as pydantic's own `Field`, for it stands where a value of any type may.
    *derive* makes the default from the settings above it; *shown* is how a default is
    shown that is not its own best text; *within* are the bounds of a number of *unit*.
    """
    if shown is None:
        shown = _plain(default)
    bounds: dict[str, Any] = {}
    if within is not None:
        bounds = {"ge": within[0], "le": within[1], "allow_inf_nan": False}
        allowed = f"a number of {unit} from {within[0]} to {within[1]}"
    told: JsonDict = {
        "default": shown,
        "unit": unit,
        "allowed": allowed,
        "group": group,
        "secret": secret,
    }
    source: dict[str, Any] = (
        {"default": default} if derive is None else {"default_factory": derive}
    )
    return Field(
        description=text, repr=not secret, json_schema_extra=told, **source, **bounds
    )


def _plain(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()  # as TOML has it
    return "none" if default is None else str(default)


def about(name: str, field: FieldInfo) -> About:
    """Return what people are told about the field *name*."""
    told = field.json_schema_extra
    if not isinstance(told, Mapping):
        raise TypeError(name)
    return About(
        name=name,
        default=str(told["default"]),
        unit=str(told["unit"]),
        help=field.description or "",
        allowed=str(told["allowed"]),
        group=str(told["group"]),
        secret=bool(told["secret"]),
    )
