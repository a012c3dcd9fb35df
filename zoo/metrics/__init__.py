"""Ranking metrics, exact on one process or many."""
