"""One file per format of another program: how it is written and how it is read."""
