"""``arbshard analyze``: what a run earned, on what, what it lost to, and whether it was healthy. Reads only."""
