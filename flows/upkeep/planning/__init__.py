"""Predicting what a dataset takes, from a few measured shards."""
