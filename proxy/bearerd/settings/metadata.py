"""The documentation of a setting, kept in the field that declares it.

Help texts, `config/bearerd.toml` and error messages are made from it, so that a name, a
default or a bound is written once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args, get_origin

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
"""The groups of settings, in the order in which help and config file list them."""


@dataclass(frozen=True, slots=True)
class Metavar:
    """The placeholder of a value in a help text. It is part of a setting's type."""

    text: str


DEFAULT_METAVAR: Final = "TEXT"


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """What is documented of one setting. Each field is text for a reader, `secret` apart.

    `expected` completes the sentence "expected ..." of an error message. `metavar` is the
    placeholder of the flag's value; a setting with few values has them all there.
    """

    name: str
    default: str
    unit: str
    help: str
    expected: str
    group: str
    metavar: str
    secret: bool

    @property
    def default_with_unit(self) -> str:
        """The default, followed by its unit if that is one of time or size."""
        has_unit = self.unit in {"seconds", "bytes"}
        return f"{self.default} {self.unit}" if has_unit else self.default


def setting(
    group: str,
    help_text: str,
    *,
    default: object = None,
    default_from: Callable[[dict[str, Any]], object] | None = None,
    default_text: str | None = None,
    expected: str = "",
    unit: str = "",
    bounds: tuple[float, float] | None = None,
    secret: bool = False,
) -> Any:
    """Return the pydantic field of a setting in *group*, documented by *help_text*.

    *default_from* computes the default from the settings declared before this one.
    *default_text* describes a default whose `str` is not what a reader wants to see.
    *bounds* are the lowest and highest value of a number of *unit*; they also make
    *expected*. The result is `Any`, as that of pydantic's `Field`, because it is assigned
    to attributes of every type.
    """
    arguments: dict[str, Any] = {"default": default}
    if default_from is not None:
        arguments = {"default_factory": default_from}
    if bounds is not None:
        arguments |= {"ge": bounds[0], "le": bounds[1], "allow_inf_nan": False}
        expected = f"a number of {unit} from {bounds[0]} to {bounds[1]}"
    extra: JsonDict = {
        "default": _toml_text(default) if default_text is None else default_text,
        "unit": unit,
        "expected": expected,
        "group": group,
        "secret": secret,
    }
    return Field(
        description=help_text, repr=not secret, json_schema_extra=extra, **arguments
    )


def _toml_text(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return "none" if default is None else str(default)


def setting_info(name: str, field: FieldInfo) -> SettingInfo:
    """Return the documentation of the field *name*, which `setting` has made."""
    extra = field.json_schema_extra
    if not isinstance(extra, Mapping):
        raise TypeError(name)
    return SettingInfo(
        name=name,
        default=str(extra["default"]),
        unit=str(extra["unit"]),
        help=field.description or "",
        expected=str(extra["expected"]),
        group=str(extra["group"]),
        metavar=_metavar(field, str(extra["unit"])),
        secret=bool(extra["secret"]),
    )


def _metavar(field: FieldInfo, unit: str) -> str:
    """Return the placeholder for a value of *field*, from the field's type.

    1. A type with a `Metavar` has that one.
    2. A boolean, and a choice of words, have their values.
    3. A number has its unit.
    """
    marked = [*field.metadata, *_parts(field.annotation)]
    metavars = [each.text for each in marked if isinstance(each, Metavar)]  # 1
    if metavars:
        return metavars[0]
    if field.annotation is bool:  # 2
        return "true|false"
    if get_origin(field.annotation) is Literal:
        return "|".join(get_args(field.annotation))
    return unit.upper() or DEFAULT_METAVAR  # 3


def _parts(annotation: object) -> list[object]:
    """Return what *annotation* is made of: the members of a union, and their metadata."""
    parts: list[object] = []
    for part in get_args(annotation):
        parts += [part, *_parts(part)]
    return parts
