"""Writers and readers of other programs' formats, one module per format."""
