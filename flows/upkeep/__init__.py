"""Looking after a project and its store."""
