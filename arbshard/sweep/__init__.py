"""``arbshard sweep``: a search over settings on a tape, and what its best result is worth.

``space`` and ``searching`` say which settings are tried, ``parts`` cuts the tape, ``tasks`` runs one backtest,
``pools`` runs many side by side, ``store`` keeps results, ``sweep`` puts these together. ``sharpe`` and ``judging``
are pure: from results to what they are worth. ``page`` shows it with the pages of ``report``.
"""
