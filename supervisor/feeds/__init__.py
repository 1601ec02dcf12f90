"""Holds the exchange connections of a run, from the socket to the slot in shared memory."""
