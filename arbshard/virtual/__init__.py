"""Executes the whole system in one process, on virtual time, from one seed."""
