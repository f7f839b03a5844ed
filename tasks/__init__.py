"""Thin Prefect tasks: dataclasses and paths in, receipts out."""
