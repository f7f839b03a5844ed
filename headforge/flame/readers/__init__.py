"""Readers of head models made by others: FLAME and ICT-FaceKit."""
