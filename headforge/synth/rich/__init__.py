"""The rich appearance of the builtin generator: hair of strands, glasses, beards, occlusion, backgrounds, domains."""
