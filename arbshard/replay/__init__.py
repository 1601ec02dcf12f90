"""Replay: the embedded exchanges play a tape over the venues' own protocols, with accounts.

``stretch`` reads the rows of a part of a tape in the order of time, ``events`` makes of them what
``exchanges.recorded`` plays, and ``main`` serves both venues. All but this file need pyarrow.
"""
