"""One file a paper; README.md says how to add one."""
