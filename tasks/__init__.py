"""Prefect tasks and the items of work that they build."""
