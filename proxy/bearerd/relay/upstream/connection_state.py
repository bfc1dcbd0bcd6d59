"""The states of an upstream connection, and every transition between them.

1. NEW: connected. No request has been sent on it.
2. WAITING: a request is under way, and no byte of its response has come.
3. RECEIVING: a byte of the response has come. The state lasts, also when the response is
   complete, until the sender of the request releases the connection.
4. IDLE: the last request was sent whole, its response came whole, and the response did
   not announce a close. The connection takes another request, as in NEW.
5. TUNNEL: the response was a 101. An `UpgradedConnection` has the transport from now on.
6. CLOSED: it carries nothing any more. The first error is kept as the reason.

            request sent            first byte            released
    NEW ----------------> WAITING ------------> RECEIVING ---------> IDLE
                             ^                      |                  |
                             |         request sent | 101              |
                             +----------------------|------------------+
                                                    v
    each of them ----> CLOSED <------------------ TUNNEL

Whether the request has been sent whole is not a state. An upstream may respond before it
has read everything (RFC 9112 section 9.5), so WAITING and RECEIVING have a flag for it.
Only a connection whose request was sent whole may become IDLE.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType


class ConnectionState(Enum):
    """What an upstream connection is doing. The cases are at the head of this file."""

    NEW = "new"
    WAITING = "waiting"
    RECEIVING = "receiving"
    IDLE = "idle"
    TUNNEL = "tunnel"
    CLOSED = "closed"

    # The table is read for each request, and Enum's own hash is a function in Python.
    __hash__ = object.__hash__


_S = ConnectionState

TRANSITIONS: MappingProxyType[ConnectionState, tuple[ConnectionState, ...]] = (
    MappingProxyType(
        {
            _S.NEW: (_S.WAITING, _S.CLOSED),
            _S.WAITING: (_S.RECEIVING, _S.CLOSED),
            _S.RECEIVING: (_S.IDLE, _S.TUNNEL, _S.CLOSED),
            _S.IDLE: (_S.WAITING, _S.CLOSED),
            _S.TUNNEL: (_S.CLOSED,),
            _S.CLOSED: (),
        }
    )
)
