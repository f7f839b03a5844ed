"""Where a project is, what its settings are and what it uses."""
