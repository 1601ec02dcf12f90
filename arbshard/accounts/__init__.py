"""What the venues say of our accounts: private streams, balances, open orders, and whether a key is fit to trade."""
