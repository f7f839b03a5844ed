"""The builtin generator: a painted head with hair shells."""
