"""The append-only record of every decision, order, fill and balance change."""
