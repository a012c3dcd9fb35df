"""Sequence backbones: from item vectors in order to user states."""
