"""Binance: every word that the venue speaks, with one room for each kind of them."""
