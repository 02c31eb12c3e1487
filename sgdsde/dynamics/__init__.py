"""Dynamics: discrete SGD, its SDEs, the matching between them, and flows."""
