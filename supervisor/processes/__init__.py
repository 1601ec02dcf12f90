"""The children of a run: how they are started, watched, put down and replaced."""
