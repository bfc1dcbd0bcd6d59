"""The credential of a profile and how it stays valid. No HTTP server, no relay."""
