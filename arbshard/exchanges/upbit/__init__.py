"""Contains the simulated Upbit's protocol, without sockets.

The public part is ``session`` and ``frames`` for the WebSocket and ``rest`` for HTTP, with trades and candles in
``quotation``. Accounts are in ``auth``, ``private`` and ``desk`` for HTTP, and in ``private_session`` and
``private_frames`` for the WebSocket.
"""
