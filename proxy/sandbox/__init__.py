"""A stand-in authority and a stand-in upstream, on loopback."""

from proxy.sandbox.faults import AuthorityFault, UpstreamFault
from proxy.sandbox.sandbox import Sandbox, serve_sandbox
from proxy.sandbox.turn import StreamScript

__all__ = [
    "AuthorityFault",
    "Sandbox",
    "StreamScript",
    "UpstreamFault",
    "serve_sandbox",
]
