"""Export of datasets to other programs' formats, and import of pictures with cameras."""
