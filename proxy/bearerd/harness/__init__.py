"""Agents at the sandbox: what `bearerd demo` shows, and `bearerd selftest` proves.

Everything is real but the account: agents, daemons and stand-ins talk through sockets,
and each daemon is a process of its own that runs `bearerd serve`. What happens is told
to a callable; how it looks is the command's business.
"""
