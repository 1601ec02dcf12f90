"""Upbit's public protocol: ``session`` and ``frames`` for the WebSocket, ``rest`` for HTTP. No sockets here."""
