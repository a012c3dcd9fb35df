"""Commands of many runs: what to run, the running of it, and the table at the end."""
