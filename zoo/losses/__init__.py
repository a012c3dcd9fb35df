"""Training losses; they see vectors and ids, never content."""
