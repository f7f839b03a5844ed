"""Face detectors and landmark models, one adapter per package."""
