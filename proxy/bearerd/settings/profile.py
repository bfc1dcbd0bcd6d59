"""What a profile may have of its own: its login, its authority and its upstream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from bearerd.settings.metadata import setting
from bearerd.settings.value_types import Seconds, ServiceUrl, StorePath, Text, Whole

DEFAULT_PROFILE = "default"

CODEX_CLIENT_ID = "app_EMoamEEZ73f0CkXaXp7hrann"
"""Codex's public client id (openai/codex, codex-rs/login); logins for it are ours too."""

_URL = "an https:// URL; http:// for a loopback host only"


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
        "The credential file, in the form of Codex's auth.json.",
        shown="auth.json in the user data directory",
        allowed="a path",
    )
    upstream_url: ServiceUrl = setting(
        "Upstream and authority",
        "Where requests go.",
        default="https://chatgpt.com/backend-api",
        allowed=_URL,
    )
    issuer_url: ServiceUrl = setting(
        "Upstream and authority",
        "The authority; login, refresh and revoke live under it.",
        default="https://auth.openai.com",
        allowed=_URL,
    )
    token_url: ServiceUrl = setting(
        "Upstream and authority",
        "Where credentials are refreshed.",
        derive=lambda above: f"{above['issuer_url']}/oauth/token",
        shown="{issuer_url}/oauth/token",
        allowed=_URL,
    )
    client_id: Text = setting(
        "Upstream and authority",
        "The OAuth client that the login belongs to; the default is Codex's.",
        default=CODEX_CLIENT_ID,
        allowed="visible ASCII characters without spaces",
    )
    refresh_window_seconds: Seconds = setting(
        "Credential",
        "Refresh this long before the access token expires, with jitter.",
        default=300,
        unit="seconds",
        within=(0, 86400),
    )
    authority_timeout_seconds: Seconds = setting(
        "Upstream and authority",
        "The longest a call to the authority may take, as a whole.",
        default=30,
        unit="seconds",
        within=(0.1, 600),
    )
    refresh_burst: Whole = setting(
        "Credential",
        "So many refreshes may follow each other at once, then one each interval.",
        default=5,
        unit="refreshes",
        within=(1, 1000),
    )
    refresh_interval_seconds: Seconds = setting(
        "Credential",
        "Once the burst is spent, one refresh in each interval of this length.",
        default=30,
        unit="seconds",
        within=(0.01, 86400),
    )


class ProfileSettings(ProfileFields):
    """The settings that hold for one profile."""

    name: str


def filled_in(
    name: str, shared: Mapping[str, Any], own: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the raw settings of the profile *name*: its *own* over the *shared* ones.

    A profile without a store of its own has one in a folder of its own, since two logins
    in one folder would wait for one lock of Codex's.
    """
    filled = {**shared, **own, "name": name}
    if "store" not in own and name != DEFAULT_PROFILE:
        filled["store"] = shared["store"].parent / "profiles" / name / "auth.json"
    if "issuer_url" in own and "token_url" not in own:
        del filled["token_url"]  # another authority's refreshes are not sent to ours
    return filled
