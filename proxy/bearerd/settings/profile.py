"""The settings that a profile may have of its own: login, authority and upstream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from bearerd.settings.metadata import setting
from bearerd.settings.value_types import (
    Integer,
    Seconds,
    ServiceUrl,
    StorePath,
    VisibleText,
)

DEFAULT_PROFILE = "default"

CODEX_CLIENT_ID = "app_EMoamEEZ73f0CkXaXp7hrann"
"""Codex's public client id (openai/codex, codex-rs/login). bearerd can share its logins."""

_URL = "an https:// URL, or an http:// URL of a loopback host"


class ProfileFields(
    BaseModel,
    frozen=True,
    extra="forbid",
    validate_default=True,
    hide_input_in_errors=True,
):
    """What each profile may have of its own."""

    store: StorePath = setting(
        "Credential",
        "The credential file, in the format of Codex's auth.json.",
        default_text="auth.json in the user data directory",
        expected="a path",
    )
    upstream_url: ServiceUrl = setting(
        "Upstream and authority",
        "The URL that requests are sent to.",
        default="https://chatgpt.com/backend-api",
        expected=_URL,
    )
    issuer_url: ServiceUrl = setting(
        "Upstream and authority",
        "The authority; sign-in, refresh and revocation are below this URL.",
        default="https://auth.openai.com",
        expected=_URL,
    )
    token_url: ServiceUrl = setting(
        "Upstream and authority",
        "The URL that refreshes are sent to.",
        default_from=lambda above: f"{above['issuer_url']}/oauth/token",
        default_text="{issuer_url}/oauth/token",
        expected=_URL,
    )
    client_id: VisibleText = setting(
        "Upstream and authority",
        "The OAuth client that the login belongs to; the default is Codex's.",
        default=CODEX_CLIENT_ID,
        expected="visible ASCII characters without spaces",
    )
    refresh_window_seconds: Seconds = setting(
        "Credential",
        "Refresh this long before the access token expires, with jitter.",
        default=300,
        unit="seconds",
        bounds=(0, 86400),
    )
    authority_timeout_seconds: Seconds = setting(
        "Upstream and authority",
        "How long a request waits for a refresh before it gets a 503. The refresh goes on "
        "until the authority has answered.",
        default=30,
        unit="seconds",
        bounds=(0.1, 600),
    )
    refresh_burst: Integer = setting(
        "Credential",
        "The number of refreshes that may follow each other without a pause; after "
        "these, one in each interval.",
        default=5,
        unit="refreshes",
        bounds=(1, 1000),
    )
    refresh_interval_seconds: Seconds = setting(
        "Credential",
        "After the burst, one refresh is allowed in each interval of this length.",
        default=30,
        unit="seconds",
        bounds=(0.01, 86400),
    )


class ProfileSettings(ProfileFields):
    """The settings of one profile."""

    name: str


def profile_values(
    name: str, shared: Mapping[str, Any], own: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the raw values of the profile *name*: its *own* over the *shared* ones.

    1. A profile without a store of its own gets one in a folder of its own, because two
       logins in one folder would wait for one lock of Codex's.
    2. A profile with an issuer of its own does not inherit `token_url`, because another
       authority's refresh token must not be sent to the shared one.
    """
    values = {**shared, **own, "name": name}
    if "store" not in own and name != DEFAULT_PROFILE:  # 1
        values["store"] = shared["store"].parent / "profiles" / name / "auth.json"
    if "issuer_url" in own and "token_url" not in own:  # 2
        del values["token_url"]
    return values
