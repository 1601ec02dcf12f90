"""The simulated exchanges: real Upbit and Binance wire protocols on loopback."""
