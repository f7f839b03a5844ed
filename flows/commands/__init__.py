"""The sub-commands of `headforge` that are no stages, one small module each: its parser and what it runs.

They are imported for every call, so they load what does the work when they run.
"""
