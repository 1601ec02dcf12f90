"""The ledger is the append-only record of every decision, order, fill and balance change."""
