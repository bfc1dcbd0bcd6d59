"""The settings that the process has once: outgoing connections, limits, drain and log."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from bearerd.settings.metadata import setting
from bearerd.settings.value_types import (
    CertificateFile,
    Integer,
    ProxyUrl,
    Seconds,
)


class ProcessFields(BaseModel):
    """The settings of the process itself."""

    upstream_connect_timeout_seconds: Seconds = setting(
        "Upstream and authority",
        "The longest that opening a connection to the upstream may take.",
        default=10,
        unit="seconds",
        bounds=(0.1, 600),
    )
    upstream_tls_timeout_seconds: Seconds = setting(
        "Upstream and authority",
        "The longest that the TLS handshake may take after that; by default as long as "
        "connecting.",
        default_from=lambda above: above["upstream_connect_timeout_seconds"],
        default_text="10",
        unit="seconds",
        bounds=(0.1, 600),
    )
    upstream_idle_timeout_seconds: Seconds = setting(
        "Upstream and authority",
        "The longest that the upstream may be silent; an active stream is never cut off.",
        default=300,
        unit="seconds",
        bounds=(0.1, 86400),
    )
    upstream_first_byte_timeout_seconds: Seconds = setting(
        "Upstream and authority",
        "The longest that the upstream may take to begin its response; by default as "
        "long as it may be silent.",
        default_from=lambda above: above["upstream_idle_timeout_seconds"],
        default_text="300",
        unit="seconds",
        bounds=(0.1, 86400),
    )
    upstream_proxy: ProxyUrl | None = setting(
        "Upstream and authority",
        "An HTTP proxy for outgoing connections; the proxies of the environment are not "
        "used.",
        expected="an http:// URL of a proxy, such as http://proxy.example:3128",
        secret=True,
    )
    ca_file: CertificateFile | None = setting(
        "Upstream and authority",
        "PEM certificates to trust instead of the system's, as a proxy that inspects TLS "
        "needs it.",
        expected="a file of PEM certificates",
    )
    via: bool = setting(
        "Upstream and authority",
        "Whether requests to the upstream have a Via field that names bearerd.",
        default=False,
        expected="true or false",
    )
    replay_limit_bytes: Integer = setting(
        "Limits",
        "The largest request body that is kept to be sent again after a 401.",
        default=8 << 20,
        unit="bytes",
        bounds=(0, 1 << 30),
    )
    replay_total_bytes: Integer = setting(
        "Limits",
        "The limit on the size of all kept request bodies together.",
        default=256 << 20,
        unit="bytes",
        bounds=(0, 1 << 36),
    )
    max_connections: Integer = setting(
        "Limits",
        "Client connections open at once on one listener; further ones get a 503.",
        default=4096,
        unit="connections",
        bounds=(1, 1 << 20),
    )
    max_requests: Integer = setting(
        "Limits",
        "Requests in flight at once, streams included; further ones get a 503.",
        default=2048,
        unit="requests",
        bounds=(1, 1 << 20),
    )
    drain_seconds: Seconds = setting(
        "Process",
        "How long requests in flight may take after bearerd is asked to stop.",
        default=30,
        unit="seconds",
        bounds=(0, 86400),
    )
    log_format: Literal["auto", "console", "json"] = setting(
        "Process",
        "The format of the log; auto is console on a terminal and json otherwise.",
        default="auto",
        expected="auto, console or json",
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "Process",
        "The lowest level that is logged.",
        default="info",
        expected="debug, info, warning or error",
    )
