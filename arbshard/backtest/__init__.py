"""Contains backtests: the code of a run on virtual time, fed with the frames of a tape. Needs pyarrow.

``rows`` reads a tape in the order of receipt, ``feeding`` hands rows over when they are due, ``feeds`` puts them into
the slots, ``replaying`` executes worker and risk on them, ``decisions`` records what was decided, and ``run`` has
``backtest``, which the command and sweeps call.
"""
