"""One client for the authorization server."""
