"""What both simulated venues know of their customers: wallets, orders, matching. Pure: no socket, no clock.

``matching.Matcher`` is the way in; ``upbit`` and ``binance`` check requests first and print what came of them.
"""
