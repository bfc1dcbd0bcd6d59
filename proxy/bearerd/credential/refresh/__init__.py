"""How a refresh token is presented, and how often."""
