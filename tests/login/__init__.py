"""Attacks on a login, by an authority and an upstream that share no code with bearerd.

Each test runs real processes of bearerd. `lab` has the two stand-ins, `processes` the
processes, `world` both of them together. A test fails if a live login is lost, reported
dead, or hidden, or if a spent refresh token is presented again.
"""
