"""Contains the simulated exchanges: one child process that speaks the wire protocols of Upbit and Binance on
loopback.

The pure core has neither sockets nor clocks. ``coins``, ``ladder``, ``regimes``, ``prices``, ``book``, ``market``
and ``world`` make the prices. ``trades`` keeps what was traded, for candles and tickers. ``accounts`` keeps
customers' wallets and matches their orders against the books. The venues' own folders, ``upbit`` and ``binance``,
format all of it as the venues do, and parse and answer requests. ``faults`` decides what goes wrong. ``tls`` makes
certificates. The thin shell around it is ``server``, ``connection``, ``loop`` and ``main``.
"""
