"""The authorization server: one client, the calls on it, and the two ways to sign in."""
