"""Implements ``arbshard sweep``: a search over settings on a tape, and a judgement of its best result.

``space`` and ``searching`` decide which settings are tried, ``parts`` cuts the tape, ``tasks`` runs one backtest,
``pools`` runs many side by side, ``store`` keeps results, and ``sweep`` combines these. ``sharpe`` and ``judging``
are pure: they judge results. ``page`` shows the judgement in the form of the pages of ``report``.
"""
