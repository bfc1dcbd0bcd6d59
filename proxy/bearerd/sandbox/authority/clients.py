"""The clients that are registered with the stand-in authority.

RFC 6749 section 2.2 requires registration; section 5.2 defines the errors for a client
that is not registered. Real servers differ in the status, the code and the form of that
error, so a test can choose them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

CODEX_CLIENT_ID = "app_EMoamEEZ73f0CkXaXp7hrann"  # public, in every copy of Codex
DEFAULT_CLIENT_IDS = (CODEX_CLIENT_ID,)

RejectionCode = Literal["invalid_client", "unauthorized_client"]
RejectionForm = Literal["string", "object", "page"]
REJECTION_STATUSES = (400, 401)  # RFC 6749 section 5.2 permits both


@dataclass(frozen=True, slots=True)
class ClientRejection:
    """The response to a client that is not registered.

    `form` is `string` for RFC 6749's `{"error": CODE}`, `object` for OpenAI's
    `{"error": {"code": CODE}}`, and `page` for an HTML page that names no code.

    Raises:
        ValueError: a field has a value that is not allowed.
    """

    code: RejectionCode = "invalid_client"
    status: int = 401
    form: RejectionForm = "string"

    def __post_init__(self) -> None:
        choices: dict[str, tuple[object, ...]] = {
            "code": get_args(RejectionCode),
            "status": REJECTION_STATUSES,
            "form": get_args(RejectionForm),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                listed = ", ".join(str(choice) for choice in allowed)
                raise ValueError(
                    f"{name} must be one of {listed}; got {getattr(self, name)!r}"
                )


class ClientRegistry:
    """Owns the set of registered client ids, and the response to all others."""

    def __init__(self, client_ids: Iterable[str] = DEFAULT_CLIENT_IDS) -> None:
        self.rejection = ClientRejection()
        self._client_ids = set(client_ids)

    def is_registered(self, client_id: str) -> bool:
        """Return True if this client is registered."""
        return client_id in self._client_ids

    def register(self, client_id: str) -> None:
        """Accept this client from now on."""
        self._client_ids.add(client_id)

    def unregister(self, client_id: str) -> None:
        """Reject this client from now on."""
        self._client_ids.discard(client_id)

    def reject_with(self, rejection: ClientRejection) -> None:
        """Send `rejection` to unregistered clients from now on."""
        self.rejection = rejection
