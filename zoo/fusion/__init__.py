"""Fusion of the modalities of one item into one vector."""
