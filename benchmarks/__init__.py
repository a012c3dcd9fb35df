"""Measurements: speed, and what the demo catalogue shows."""
