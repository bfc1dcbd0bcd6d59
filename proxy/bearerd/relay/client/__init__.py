"""The side of the relay that faces the client."""
