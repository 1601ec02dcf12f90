"""Compares what the venues state with what the ledger states."""
