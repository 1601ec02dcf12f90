"""Binance's public spot protocol: ``session`` and ``frames`` for the WebSocket, ``rest`` for HTTP. No sockets."""
