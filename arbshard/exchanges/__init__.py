"""The simulated exchanges: one child process that speaks the wire protocols of Upbit and Binance on loopback.

Pure core (no socket, no clock): ``coins``, ``ladder``, ``regimes``, ``prices``, ``book``, ``market``, ``world`` make
the prices; ``trades`` keeps what was traded, for candles and tickers; ``accounts`` keeps customers' wallets and
matches their orders against the books; the venues' own folders, ``upbit`` and ``binance``, make text of it all and
answer text; ``faults`` decides what goes wrong. ``tls`` makes certificates. Thin shell: ``server``, ``connection``,
``loop``, ``main``.
"""
