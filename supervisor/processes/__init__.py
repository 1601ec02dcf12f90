"""Starts, watches, ends and replaces the children of a run."""
