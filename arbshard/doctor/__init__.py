"""The checks before live trading: facts are gathered from the venues, and a verdict is given for each."""
