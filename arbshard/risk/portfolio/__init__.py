"""Holds what is owned: balances, positions, open intents, results, and how events change them."""
