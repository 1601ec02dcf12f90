"""Defines the section ``[warnings]``: what is done about each kind of warning that a venue gives
(``model.warning``).
"""

from typing import Literal

from arbshard.config.section import NotNegative, Section

WarningRule = Literal["ignore", "no_entries", "close"]
"""``ignore``: it is shown only. ``no_entries``: nothing is entered, and what is open is left as usual. ``close``: as
``no_entries``, and what is open is closed by rule once both venues can be used.
"""


class WarningsConfig(Section, frozen=True):
    """Sets a rule for each kind; ``docs/risk.md`` explains each default."""

    warning: WarningRule = "close"
    price_fluctuations: WarningRule = "no_entries"
    trading_volume_soaring: WarningRule = "ignore"
    deposit_amount_soaring: WarningRule = "no_entries"
    global_price_differences: WarningRule = "no_entries"
    concentration_of_small_accounts: WarningRule = "no_entries"
    other_caution: WarningRule = "no_entries"
    not_trading: WarningRule = "no_entries"
    not_permitted: WarningRule = "no_entries"
    deposits_closed: WarningRule = "no_entries"
    withdrawals_closed: WarningRule = "no_entries"
    network_closed: WarningRule = "ignore"
    network_delayed: WarningRule = "ignore"
    wallets_every_s: NotNegative = 60.0
    """Live: how often the venues are asked which deposits and withdrawals are open; 0: never."""

    def rule(self, kind: str) -> WarningRule:
        """Return the rule for warnings of ``kind``, which is a key of this section."""
        rule: WarningRule = getattr(self, kind)
        return rule
