"""The authorization server: the client, its calls, and the two sign-in flows."""
