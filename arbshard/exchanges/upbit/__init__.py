"""Upbit's protocol. No sockets here.

Public: ``session`` and ``frames`` for the WebSocket, ``rest`` for HTTP, with trades and candles in ``quotation``.
Accounts: ``auth``, ``private``, ``desk`` for HTTP, ``private_session`` and ``private_frames`` for the WebSocket.
"""
