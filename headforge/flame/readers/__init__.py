"""Readers of third-party head models: FLAME and ICT-FaceKit."""
