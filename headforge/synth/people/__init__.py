"""The people of a dataset: parameters, skin and light."""
