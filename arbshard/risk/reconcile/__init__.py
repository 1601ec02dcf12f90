"""What the venues say compared with what the ledger says."""
