"""Datasets in other programs' formats, and back from those that hold pictures with cameras."""
