"""Mutated frames and messages for everything that reads what another process or venue has written."""
