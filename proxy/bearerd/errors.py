"""Every way in which bearerd says no: one tree, each type with its code and its status.

What is known here: what a client is told, with which HTTP status, and which program
exit code the same fact has on the command line. What must not be known here: how any of
it came about.

Rules:

1. A message names the thing, the reason and the remedy, and never a secret.
2. The type decides the status. `login_required` and `account_changed` are 401 and never
   503, because agents retry a 503 for minutes (Codex CLI 0.169 sends 30 requests).
3. A type with `retry_after_seconds` passes; one without stays until somebody acts.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar


class BearerdError(Exception):
    """The root. Holds what a client or a person at the shell is told."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, retry_after_seconds: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_seconds = retry_after_seconds


class ConfigurationError(BearerdError):
    """A setting, a flag or the machine around us does not allow the start."""

    code = "configuration_error"
    exit_code = 2


class StartError(BearerdError):
    """The settings are good, but the machine refuses: a port is taken, a folder full."""

    code = "start_failed"


# --- the credential ---------------------------------------------------------------


class CredentialError(BearerdError):
    """There is no valid credential to sign with, and why."""


class LoginRequired(CredentialError):
    """A person has to sign in: nothing is stored, or the authority refused for good.

    *reason* is one of `missing`, `unreadable`, `expired`, `reused`, `revoked`, `other`.
    """

    code = "login_required"
    status = HTTPStatus.UNAUTHORIZED
    exit_code = 3

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class AccountChanged(CredentialError):
    """The store holds another account than the one that this profile is pinned to."""

    code = "account_changed"
    status = HTTPStatus.UNAUTHORIZED
    exit_code = 3


class AuthorityUnavailable(CredentialError):
    """The authority was not reached, or its response was unclear; worth another try."""

    code = "authority_unavailable"
    status = HTTPStatus.SERVICE_UNAVAILABLE


class RefreshThrottled(AuthorityUnavailable):
    """The budget of calls to the authority is spent for now."""


class StoreUnavailable(CredentialError):
    """The store cannot be read or locked now: permissions, an I/O error, a dead mount.

    It is not a reason to sign in: the login may be intact.
    """

    code = "store_unavailable"
    status = HTTPStatus.SERVICE_UNAVAILABLE


class StoreError(BearerdError):
    """The credential file cannot be read or written; the message says which and why."""

    code = "store_error"


# --- the upstream -----------------------------------------------------------------


class UpstreamError(BearerdError):
    """The upstream gave no response that could be passed on."""

    status = HTTPStatus.BAD_GATEWAY


class UpstreamUnreachable(UpstreamError):
    """No connection, or it broke before a response began."""

    code = "upstream_unreachable"


class UpstreamProtocolError(UpstreamError):
    """The upstream's bytes are no HTTP response that may be passed on."""

    code = "upstream_protocol_error"


class UpstreamTimeout(UpstreamError):
    """The upstream was silent for longer than the settings allow."""

    code = "upstream_timeout"
    status = HTTPStatus.GATEWAY_TIMEOUT


# --- the client -------------------------------------------------------------------


class ClientRefused(BearerdError):
    """The request itself is not one that bearerd serves."""


class ClientKeyRequired(ClientRefused):
    """No client key came with the request."""

    code = "client_key_required"
    status = HTTPStatus.UNAUTHORIZED


class ClientKeyInvalid(ClientRefused):
    """A client key came, and it is not one of ours."""

    code = "client_key_invalid"
    status = HTTPStatus.UNAUTHORIZED


class HostForbidden(ClientRefused):
    """The Host names another server: DNS rebinding, or a setting that is missing."""

    code = "host_forbidden"
    status = HTTPStatus.FORBIDDEN


class OriginForbidden(ClientRefused):
    """A web page sent the request, and its origin is not on the list."""

    code = "origin_forbidden"
    status = HTTPStatus.FORBIDDEN


class TargetForbidden(ClientRefused):
    """The path is ambiguous, foreign, or not open to this client."""

    code = "target_forbidden"
    status = HTTPStatus.FORBIDDEN


class MethodNotAllowed(ClientRefused):
    """CONNECT, TRACE and TRACK, or a method that the path does not know."""

    code = "method_not_allowed"
    status = HTTPStatus.METHOD_NOT_ALLOWED


class LoopDetected(ClientRefused):
    """The request has come back to where it was sent from."""

    code = "target_forbidden"
    status = HTTPStatus.LOOP_DETECTED


class NotFound(ClientRefused):
    """No such path here; the message lists the base URLs that are."""

    code = "not_found"
    status = HTTPStatus.NOT_FOUND


class RequestMalformed(ClientRefused):
    """The request breaks HTTP's own rules."""

    code = "request_malformed"
    status = HTTPStatus.BAD_REQUEST


class TargetTooLong(RequestMalformed):
    """The request line is longer than we read."""

    status = HTTPStatus.REQUEST_URI_TOO_LONG


class FieldsTooLarge(RequestMalformed):
    """The header section is larger than we read, in one field or in their number."""

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


class Overloaded(BearerdError):
    """A limit of this process is reached."""

    code = "overloaded"
    status = HTTPStatus.SERVICE_UNAVAILABLE


class Draining(BearerdError):
    """The process is shutting down and takes no new request."""

    code = "draining"
    status = HTTPStatus.SERVICE_UNAVAILABLE
