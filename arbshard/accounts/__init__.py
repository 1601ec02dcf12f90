"""Follows our accounts at the venues: private streams, balances, open orders, and whether a key is fit to trade."""
