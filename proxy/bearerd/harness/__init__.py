"""Agents, daemons and the sandbox, run together by `bearerd demo` and `bearerd selftest`.

Only the account is made up: agents, daemons and stand-ins talk through sockets, and each
daemon is a process that runs `bearerd serve`. Progress is passed to a callable; how it is
shown is decided by the command.
"""
