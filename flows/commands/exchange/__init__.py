"""`headforge export` and `headforge import`."""
