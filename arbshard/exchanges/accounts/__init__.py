"""Keeps what both simulated venues know of their customers: wallets, orders, matching. It is pure.

``matching.Matcher`` is the entry point; ``upbit`` and ``binance`` check requests first and print the results.
"""
