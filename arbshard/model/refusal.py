"""Lists why a trade was not made: reasons are numbered by family, counted, stored, and shown in status.

1xx sender of the request · 2xx market data · 3xx limits of the symbol · 4xx limits of the portfolio · 5xx balances ·
6xx state of the system
"""

from enum import IntEnum


class Refusal(IntEnum):
    """Is a reason. The number never changes its meaning; a new reason gets a new number."""

    STALE_EPOCH = 101
    """The shard has a newer incarnation; this one must end."""
    UNKNOWN_PAIR = 102
    UNKNOWN_POSITION = 103
    UNKNOWN_INTENT = 104
    MALFORMED = 105
    """The request contradicts itself: legs of another pair, same side twice, quantity not positive …"""
    NOT_OWNER = 106
    """The pair belongs to another shard now, or is on its way to one."""

    BOOK_MISSING = 201
    BOOK_STALE = 202
    LEG_SKEW = 203
    VENUE_DOWN = 204
    FX_MISSING = 205
    FX_STALE = 206
    BOOK_BAD = 207
    """The newest frame was cut, crossed, empty or not finite."""
    EDGE_TOO_GOOD = 208
    ROUND_TRIP_COST = 209
    """The entry would pay, but not the way out at the present spreads."""
    SPREAD_USUAL = 210
    """The gap is not unusual enough for its pair (``entry_z``), or its history is too short to judge that."""
    BASELINE_UNKNOWN = 211
    """The level that the pair's gap returns to, or whether it returns at all, has not been learned yet."""
    REVERTS_TOO_SLOWLY = 212
    """The pair's gap returns too slowly to its level for ``max_hold_s``, or the present excursion lasts too long."""
    BOOK_JUMPED = 213
    """A book is far from its own last frame, and nothing has confirmed that it moved: it may be one wrong frame."""
    BOOK_LATE = 214
    """A frame came too long after the venue had sent it: it shows what the market was, not what it is."""
    FX_DEPARTS = 215
    """The FX book has departed from the rate that the coins imply, or it has jumped."""

    SYMBOL_NOTIONAL = 301
    SYMBOL_POSITIONS = 302
    SYMBOL_TRADES = 303
    """Too many intents of the symbol under way."""
    ORDER_NOTIONAL = 304
    SYMBOL_DAILY_LOSS = 305
    LOSS_STREAK = 306
    """The symbol pauses after so many losses in a row."""
    EDGE_IMPLAUSIBLE = 307
    """The edge is implausibly high, as risk computes it from the limit prices."""
    EDGE_BELOW_FLOOR = 309
    """The entry's own limit prices would bring too little after fees."""
    PRICE_OUT_OF_BOUNDS = 310
    """A limit price of the entry is too far from the books as risk sees them."""

    PORTFOLIO_NOTIONAL = 401
    PORTFOLIO_POSITIONS = 402
    OPEN_INTENTS = 403
    DAILY_LOSS = 404
    VENUE_NOTIONAL = 405
    """Too much bought on one venue, or sold on one."""
    DRAWDOWN = 406
    ORDER_RATE = 407
    CONCENTRATION = 408
    CORRELATED_NOTIONAL = 409
    WEEKLY_LOSS = 410
    LIFETIME_LOSS = 411
    NAKED_EXPOSURE = 412
    """Too much is bought on one venue and not sold on the other, or the reverse."""
    FX_EXPOSURE = 413
    """The open positions would hold, or owe, too much of the away quote."""

    BALANCE = 501
    NOT_FUNDED = 502
    NOT_RECONCILED = 503
    """Venue and ledger state different amounts of this pair; no entries until a person has looked (``reconcile``)."""
    NO_STATEMENT = 504
    """Live: a venue of the pair has not stated what we own there since the last start."""
    INVENTORY_SHORT = 505
    """An entry would be made, but too little money or too few coins are free for the smallest one."""
    STATEMENT_OLD = 506
    """Live: for too long nothing that a venue of the pair stated could be compared with the ledger."""
    FEE_ABOVE_CONFIGURED = 507
    """Live: the account pays a larger fee at a venue of the pair than is configured."""

    STOPPING = 601
    PAIR_BUSY = 602
    """An intent of the pair has no outcome yet."""
    RISK_SILENT = 603
    """No answer from risk: no trade."""
    EXPIRED = 604
    """The opportunity was older than its expiry when risk decided on it."""
    HALTED = 605
    """The kill switch is on: no entries until a person resumes."""
    PAIR_CLOSING = 606
    """A person has the pair closed; no entries until it is flat."""
    SUPERVISOR_SILENT = 607
    """The supervisor has shown no beat for a second: the books are not updated, and nothing is entered on them."""
    DISK_SHORT = 608
    """The ledger's disk is nearly full: the room that is left is kept for exits."""
    PAIR_SET_APART = 609
    """The pair has been set apart and waits for a person; depending on the cause, no rule closes its positions
    either.
    """
    VENUE_REFUSES = 610
    """A venue of the pair accepts none of our orders: its key, address or region is refused, or it is busy for long.
    """
    MARKET_REFUSES = 611
    """A market of the pair accepts no orders: suspended, not permitted, or its rules have changed."""
    STOPPED = 612
    """A halt stops exits too: only what a person orders to be closed is closed."""
    EXIT_WAITS = 613
    """Exits of the pair achieved nothing: the next one waits, or has to send the leg that failed first."""
    ENTRY_WAITS = 614
    """Entries of the pair achieved nothing: the next one waits."""
    NOT_REARMED = 615
    """The pair was last closed in this direction before its gap had come back: it waits, or the gap has to return."""
    MARKET_WARNED = 616
    """A venue warns of a market of the pair, and the rule of ``[warnings]`` for it allows no entries."""
    WALLET_CLOSED = 617
    """The pair's coin cannot be moved to or from a venue, and the rule for that allows no entries."""
    IDENTITY_DOUBTED = 618
    """Both markets of the pair may not trade the same coin; a person can confirm that they do."""
    RATE_BUDGET = 619
    """Live: the rate limits of a venue of the pair have no room for an entry's orders now."""
