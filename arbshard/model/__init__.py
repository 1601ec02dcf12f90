"""Defines the things that arbshard trades with: markets, pairs, books, orders, positions, money."""
