"""Has the children of a run: how they are started, watched, ended and replaced."""
