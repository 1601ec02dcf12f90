"""What things are: markets, pairs, books, orders, positions, money."""
