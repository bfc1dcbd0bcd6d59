"""The stand-in upstream."""
