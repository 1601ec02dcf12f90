"""Sends real orders: keys, clients, the port that sends, what venues answer. Imported in ``mode = "live"`` only."""
