"""What the process has for all profiles: its way out, its limits, its end and its log."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from bearerd.settings.metadata import setting
from bearerd.settings.value_types import (
    CertificateFile,
    ProxyUrl,
    Seconds,
    Whole,
)


class ProcessFields(BaseModel):
    """The settings of the process itself."""

    upstream_connect_timeout_seconds: Seconds = setting(
        "Upstream and authority",
        "The longest that connecting to the upstream may take.",
        default=10,
        unit="seconds",
        within=(0.1, 600),
    )
    upstream_tls_timeout_seconds: Seconds = setting(
        "Upstream and authority",
        "The longest that agreeing on TLS may take after that; as long as connecting, "
        "unless set.",
        derive=lambda above: above["upstream_connect_timeout_seconds"],
        shown="10",
        unit="seconds",
        within=(0.1, 600),
    )
    upstream_idle_timeout_seconds: Seconds = setting(
        "Upstream and authority",
        "How long the upstream may be silent; a stream that goes on is never cut.",
        default=300,
        unit="seconds",
        within=(0.1, 86400),
    )
    upstream_first_byte_timeout_seconds: Seconds = setting(
        "Upstream and authority",
        "How long the upstream may take to begin its answer; as long as it may be "
        "silent, unless set.",
        derive=lambda above: above["upstream_idle_timeout_seconds"],
        shown="300",
        unit="seconds",
        within=(0.1, 86400),
    )
    upstream_proxy: ProxyUrl | None = setting(
        "Upstream and authority",
        "An HTTP proxy on the way out; the environment's proxies are not used.",
        allowed="an http:// URL of a proxy, such as http://proxy.example:3128",
        secret=True,
    )
    ca_file: CertificateFile | None = setting(
        "Upstream and authority",
        "PEM certificates to trust in place of the system's, as TLS proxies need it.",
        allowed="a file of PEM certificates",
    )
    via: bool = setting(
        "Upstream and authority",
        "Whether requests tell the upstream, in Via, that they came through bearerd.",
        default=False,
        allowed="true or false",
    )
    replay_limit_bytes: Whole = setting(
        "Limits",
        "The largest request body that is kept to be sent again after a 401.",
        default=8 << 20,
        unit="bytes",
        within=(0, 1 << 30),
    )
    replay_total_bytes: Whole = setting(
        "Limits",
        "What all kept request bodies may take together.",
        default=256 << 20,
        unit="bytes",
        within=(0, 1 << 36),
    )
    max_connections: Whole = setting(
        "Limits",
        "Client connections open at once on one listener; more get a 503.",
        default=4096,
        unit="connections",
        within=(1, 1 << 20),
    )
    max_requests: Whole = setting(
        "Limits",
        "Requests under way at once, streams included; more get a 503.",
        default=2048,
        unit="requests",
        within=(1, 1 << 20),
    )
    drain_seconds: Seconds = setting(
        "Process",
        "How long requests in flight may take once bearerd is told to stop.",
        default=30,
        unit="seconds",
        within=(0, 86400),
    )
    log_format: Literal["auto", "console", "json"] = setting(
        "Process",
        "How the log is written; auto: console on a terminal, json otherwise.",
        default="auto",
        allowed="auto, console or json",
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "Process",
        "The least that is logged.",
        default="info",
        allowed="debug, info, warning or error",
    )
