"""The errors of bearerd: one tree, in which each type has a code and an HTTP status.

An error contains the message for the client, the HTTP status of that response, and the
exit code of a command that fails with it.

1. A message names the thing, the reason and the remedy. It never contains a secret.
2. The type decides the status. An error that only a sign-in or `bearerd adopt` ends
   (`login_required`, `account_changed`) is 401 and never 503, because agents retry a 503
   for minutes (Codex CLI 0.169 sends 30 requests). Any other failure of the credential is
   503, even if an operator has to act first, as for a store that cannot be read: the
   login may be intact, so a request for a sign-in would be wrong.
3. `retry_after_seconds` becomes Retry-After: a later attempt may succeed. It promises
   nothing, and an error without it can be temporary too, such as a 502.
"""

from __future__ import annotations

from enum import IntEnum
from http import HTTPStatus
from typing import ClassVar


class ExitCode(IntEnum):
    """The exit codes of the command line. Scripts rely on these numbers."""

    OK = 0
    FAILED = 1
    USAGE = 2
    SIGN_IN_NEEDED = 3
    INTERRUPTED = 130  # 128 and SIGINT, as shells report it


class BearerdError(Exception):
    """The root of the tree. `message` is for a client or an operator."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, message: str, *, retry_after_seconds: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_seconds = retry_after_seconds


class ConfigurationError(BearerdError):
    """A setting or a flag is invalid, or does not fit the machine."""

    code = "configuration_error"
    exit_code = ExitCode.USAGE


class StartError(BearerdError):
    """The settings are valid, but the start failed: a port in use, a full disk."""

    code = "start_failed"


# --- the credential ---------------------------------------------------------------


class CredentialError(BearerdError):
    """There is no valid credential to attach to a request."""


class LoginRequired(CredentialError):
    """A sign-in is needed: no login is stored, or the authority refused it permanently.

    *reason* is `missing`, `unreadable` (torn) or `no_login` for the store; `expired`,
    `reused`, `revoked`, `other` or `no_refresh_token` for a refused login.
    """

    code = "login_required"
    status = HTTPStatus.UNAUTHORIZED
    exit_code = ExitCode.SIGN_IN_NEEDED

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class AccountChanged(CredentialError):
    """The store, or a grant, has another account than the one the profile is pinned to."""

    code = "account_changed"
    status = HTTPStatus.UNAUTHORIZED
    exit_code = ExitCode.SIGN_IN_NEEDED


class AuthorityUnavailable(CredentialError):
    """A refresh failed for now: no connection, or no usable response. A retry may help."""

    code = "authority_unavailable"
    status = HTTPStatus.SERVICE_UNAVAILABLE


class RefreshThrottled(AuthorityUnavailable):
    """A limit on calls to the authority is reached for now."""


class StoreUnavailable(CredentialError):
    """The store cannot be read or locked now: permissions, an I/O error, a dead mount.

    A sign-in does not help: the login may be intact.
    """

    code = "store_unavailable"
    status = HTTPStatus.SERVICE_UNAVAILABLE


class StoreError(BearerdError):
    """A file cannot be read or written: the credential file, one beside it, or the keys.

    The message names the file and the reason.
    """

    code = "store_error"


# --- the upstream -----------------------------------------------------------------


class UpstreamError(BearerdError):
    """The upstream sent no response that can be forwarded."""

    status = HTTPStatus.BAD_GATEWAY


class UpstreamUnreachable(UpstreamError):
    """There is no connection, or it was lost before the response started."""

    code = "upstream_unreachable"


class UpstreamProtocolError(UpstreamError):
    """The upstream sent bytes that are not a valid HTTP response."""

    code = "upstream_protocol_error"


class UpstreamTimeout(UpstreamError):
    """The upstream was silent for longer than the settings allow."""

    code = "upstream_timeout"
    status = HTTPStatus.GATEWAY_TIMEOUT


# --- the client -------------------------------------------------------------------


class ClientRefused(BearerdError):
    """bearerd does not serve this request."""


class ClientKeyRequired(ClientRefused):
    """The request has no client key."""

    code = "client_key_required"
    status = HTTPStatus.UNAUTHORIZED


class ClientKeyInvalid(ClientRefused):
    """The request has a client key that is not in the key ring."""

    code = "client_key_invalid"
    status = HTTPStatus.UNAUTHORIZED


class HostForbidden(ClientRefused):
    """The Host names another server: DNS rebinding, or a missing setting."""

    code = "host_forbidden"
    status = HTTPStatus.FORBIDDEN


class OriginForbidden(ClientRefused):
    """A web page sent the request, and its origin is not allowed."""

    code = "origin_forbidden"
    status = HTTPStatus.FORBIDDEN


class TargetForbidden(ClientRefused):
    """The path is ambiguous, outside the base, or not open to this client."""

    code = "target_forbidden"
    status = HTTPStatus.FORBIDDEN


class MethodNotAllowed(ClientRefused):
    """CONNECT, TRACE or TRACK, or a method that the path does not support."""

    code = "method_not_allowed"
    status = HTTPStatus.METHOD_NOT_ALLOWED


class LoopDetected(ClientRefused):
    """The request returned to the bearerd that sent it.

    It has the code of `TargetForbidden`, which clients and dashboards know, and the
    status 508, which distinguishes the two.
    """

    code = "target_forbidden"
    status = HTTPStatus.LOOP_DETECTED


class NotFound(ClientRefused):
    """The path does not exist; the message lists the valid base URLs."""

    code = "not_found"
    status = HTTPStatus.NOT_FOUND


class RequestMalformed(ClientRefused):
    """The request violates HTTP."""

    code = "request_malformed"
    status = HTTPStatus.BAD_REQUEST


class TargetTooLong(RequestMalformed):
    """The request line is longer than the limit."""

    status = HTTPStatus.REQUEST_URI_TOO_LONG


class FieldsTooLarge(RequestMalformed):
    """The header section exceeds a limit: one field, the total size, or their number."""

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


class Overloaded(BearerdError):
    """A limit of this process is reached."""

    code = "overloaded"
    status = HTTPStatus.SERVICE_UNAVAILABLE


class Draining(BearerdError):
    """The process is shutting down and accepts no new request."""

    code = "draining"
    status = HTTPStatus.SERVICE_UNAVAILABLE
