"""Graphs of users and items: sparse or by index table, never a matrix of all pairs."""
