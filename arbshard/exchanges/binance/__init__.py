"""Contains the simulated Binance's spot protocol, without sockets.

``session`` and ``frames`` are the streams, ``rest`` is the HTTP interface and ``wsapi`` the WebSocket API.
"""
