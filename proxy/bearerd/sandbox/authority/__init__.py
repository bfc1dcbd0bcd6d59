"""The stand-in authority."""
