"""The simulated exchanges: one child process that speaks the wire protocols of Upbit and Binance on loopback.

Pure core (no socket, no clock): ``coins``, ``ladder``, ``regimes``, ``prices``, ``book``, ``market``, ``world`` make
the prices; ``upbit`` and ``binance`` make text of them and answer text (``session``, ``frames``, ``rest``). Thin
shell: ``server``, ``connection``, ``loop``, ``main``.

Accounts, orders and private streams get rooms of their own beside ``session`` in each venue's folder; they trade
against ``book.Book`` through ``Book.take``. A fault switchboard belongs in ``connection.Connection``, which
every frame passes on its way out.
"""
