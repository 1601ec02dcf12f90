"""Defines the sections ``[sim]``, ``[sim.accounts]`` and ``[sim.faults]``: the simulated exchanges.

The supervisor sends all of it to their process; faults of the same form are set at run time too (``sim.faults``).
"""

from collections.abc import Mapping
from decimal import Decimal
from ipaddress import ip_address
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from arbshard.config.section import PortNumber, Section, Seed, Share, matching
from arbshard.config.symbols import CoinPair

_HIDDEN = "********"
Regime = Literal["calm", "mixed", "high-win", "low-win", "trending", "crash", "band"]
REGIMES: Final[Mapping[Regime, str]] = {
    "mixed": "every gap closes within seconds, so nearly every trade wins; this shows the machine, not a strategy's "
    "results",
    "calm": "gaps close within seconds and are too small for most entries; few trades, most of them win",
    "high-win": "every gap closes at once and beyond zero, so trades win more often than in mixed; this shows the "
    "machine, not a strategy's results",
    "low-win": "most gaps widen further before they close in part, so most trades lose",
    "trending": "gaps drift one way for minutes, so a trade that waits for them to close loses",
    "crash": "the whole market falls in waves, books are thin and gaps wide; most trades lose",
    "band": "gaps wander in a band around levels of their own and return only from outside of it, within seconds or "
    "within hours; this is nearest to real markets, and a strategy may earn little or lose",
}
"""What each regime shows, and what that means for results."""
Milliseconds = Annotated[float, Meta(ge=0, le=3_600_000)]
Number = Annotated[int, Meta(ge=0, le=1_000_000)]
ShortText = Annotated[str, Meta(min_length=1, max_length=200)]
Calls = Literal["placing", "changing", "asking", "all"]
"""REST calls: those that place an order; those that place or cancel; those that do neither; all of them."""
Markets = str
"""Symbols or coins, separated by commas; empty for all markets of the venue."""
Sockets = Literal["all", "public", "private"]
VenueFilter = Literal["", "upbit", "binance"]
"""The venue; empty for both."""


class SimPermissions(Section, frozen=True):
    """Sets what the key of a simulated account may do."""

    can_read: bool = True
    can_trade: bool = True
    can_withdraw: bool = False
    can_deposit: bool = False


class SimAccountsConfig(Section, frozen=True, kw_only=True):
    """Contains the keys and opening balances of the simulated accounts.

    The keys open nothing but the simulation. They are protected like real ones all the same, because one day a
    person may put a real one here: they are not shown, and no copy of the configuration holds them.
    """

    upbit_key: ShortText = "sim-upbit-key"
    upbit_secret: ShortText = "sim-upbit-secret-opens-nothing-but-the-simulated-exchange-00000001"  # noqa: S105 - see above
    binance_key: ShortText = "sim-binance-key"
    binance_secret: ShortText = "sim-binance-secret-opens-nothing-but-the-simulated-exchange-000001"  # noqa: S105 - see above
    binance_ed25519_public: str = ""
    """PEM or base64 of the raw 32 bytes; empty: the key signs with its secret."""
    quote_home: Decimal = Decimal(100_000_000)
    """KRW at Upbit."""
    quote_away: Decimal = Decimal(70_000)
    """USDT at Binance."""
    coins_notional: Decimal = Decimal(10_000_000)
    """Value in KRW of every coin that both list, on each venue."""
    permissions: SimPermissions = SimPermissions()

    def without_secrets(self) -> "SimAccountsConfig":
        """Return the same without its keys, for copies of the configuration."""
        hidden = dict.fromkeys(("upbit_key", "upbit_secret", "binance_key", "binance_secret"), _HIDDEN)
        return msgspec.structs.replace(self, **hidden)

    def __repr__(self) -> str:
        return (
            f"SimAccountsConfig(quote_home={self.quote_home}, quote_away={self.quote_away}, keys={_HIDDEN})"
        )

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Return what ``rich`` shows in place of all fields."""
        return [("keys", _HIDDEN)]

    def key_of(self, venue: str) -> tuple[str, str]:
        """Return (key, secret) of the simulated account at ``venue``."""
        return getattr(self, f"{venue}_key"), getattr(self, f"{venue}_secret")


class Fault(Section, frozen=True, kw_only=True):
    """Is a fault, which never happens without ``share`` and ``times``."""

    venue: VenueFilter = ""
    share: Share = 0.0
    """Share of its occasions on which it happens by chance."""
    times: Number = 0
    """Number of the next occasions on which it happens for certain."""


class TimedFault(Fault, frozen=True, kw_only=True):
    """Is a fault with a time, drawn evenly from a range."""

    ms_min: Milliseconds = 50.0
    ms_max: Milliseconds = 500.0

    def __post_init__(self) -> None:
        """Raise ``ValueError`` (msgspec adds the path) for an invalid range."""
        if self.ms_max < self.ms_min:
            raise ValueError("ms_max is below ms_min")


class RequestFault(Fault, frozen=True, kw_only=True):
    """Happens to a REST call: each is an occasion."""

    calls: Calls = "placing"


class DelayFault(TimedFault, frozen=True, kw_only=True):
    """Delays the reply by the time; the call is carried out at once."""

    calls: Calls = "all"


class EventBeforeReplyFault(TimedFault, frozen=True, kw_only=True):
    """Sends the private events of a placed order first, and the reply after the time."""

    ms_min: Milliseconds = 20.0
    ms_max: Milliseconds = 50.0


class LateEventFault(TimedFault, frozen=True, kw_only=True):
    """Delays a private event by the time, so that others overtake it. Each is an occasion, for each client."""

    ms_min: Milliseconds = 100.0
    ms_max: Milliseconds = 1000.0


class RateLimitedFault(RequestFault, frozen=True, kw_only=True):
    """Refuses a call: too many requests.

    A block (418) is of the address: with ``calls = "all"`` and ``share = 1``, new WebSockets are refused as well.
    """

    calls: Calls = "all"
    status: Literal[429, 418] = 429
    retry_after_s: Annotated[int, Meta(ge=1, le=86_400)] = 1
    """Binance states it in a header, and in the text of a block (418)."""


class RedirectFault(RequestFault, frozen=True, kw_only=True):
    """Answers a call with a redirect to another host, as a broken CDN or a firewall does."""

    status: Literal[301, 302, 303, 307, 308] = 307
    location: ShortText = "http://127.0.0.2:9"
    """Scheme, host and port of the other host; the path and query of the call are added."""
    carried_out: bool = False
    """Whether the venue has carried out the call all the same."""


class PartialFillFault(Fault, frozen=True, kw_only=True):
    """Gives a taker only a share of what the book has for it. Each order that takes is an occasion."""

    fill_share: Annotated[float, Meta(ge=0, lt=1)] = 0.5


class RejectFault(Fault, frozen=True, kw_only=True):
    """Refuses an order that breaks no rule. Each order of ``market`` is an occasion."""

    market: Markets = ""
    upbit_error: str = ""
    """The error's name, with or without ``_bid`` and ``_ask``; empty for create_bid_error and create_ask_error."""
    binance_code: int = -2010
    message: str = ""
    """The text of the refusal; empty for what the venue usually says with this code."""


class DeniedFault(RequestFault, frozen=True, kw_only=True):
    """Denies access: a call is refused before the venue examines it.

    With ``calls = "all"`` and ``share = 1``, new WebSockets are refused as well.
    """

    status: Literal[401, 403, 418, 451, 503] = 403
    """401 key or address, 403 firewall or permission, 418 ban, 451 region, 503 overload (Binance -1008)."""
    upbit_error: str = ""
    """The error's name; empty: the usual name for this status."""
    binance_code: int = 0
    """The error's code; 0: the usual code for this status. 403 has none, because a firewall answers it with a page
    of HTML.
    """


class SocketFault(TimedFault, frozen=True, kw_only=True):
    """Happens to WebSockets. Each second is an occasion, and so is the moment at which it is set."""

    sockets: Sockets = "all"
    connections: Number = 0
    """Number of connections that it happens to, drawn; 0 for all that are there."""


class DisconnectFault(Fault, frozen=True, kw_only=True):
    """Cuts WebSockets. Occasions are as for ``SocketFault``."""

    sockets: Sockets = "all"
    connections: Number = 0
    clean: bool = False
    """Whether a close frame is sent; otherwise the TCP connection just ends."""


class SilentStallFault(SocketFault, frozen=True, kw_only=True):
    """Keeps WebSockets connected and answering pings, and sends nothing else, for the time; 0: until cleared."""

    ms_min: Milliseconds = 2000.0
    ms_max: Milliseconds = 5000.0


class SequenceGapFault(Fault, frozen=True, kw_only=True):
    """Loses the next event of a diff stream. Each second is an occasion."""

    venue: Literal["", "binance"] = ""
    markets: Number = 0
    """Number of markets that it happens to, drawn; 0 for all."""


class ClockSkewFault(TimedFault, frozen=True, kw_only=True):
    """Sets the venue's clock wrong in answers and checks, for the time; 0: until cleared. Each second is an
    occasion.
    """

    ms_min: Milliseconds = 5000.0
    ms_max: Milliseconds = 10_000.0
    skew_ms: Annotated[int, Meta(ge=-3_600_000, le=3_600_000)] = 10_000
    """By how much the clock is wrong, in ms; above 0 it is fast."""


class MaintenanceFault(TimedFault, frozen=True, kw_only=True):
    """Answers 503 on REST, closes and refuses WebSockets, for the time; 0: until cleared. Each second is an
    occasion.
    """

    ms_min: Milliseconds = 5000.0
    ms_max: Milliseconds = 15_000.0


class KeyRevokedFault(TimedFault, frozen=True, kw_only=True):
    """Makes the account's key invalid for the time; 0: until cleared. Each second is an occasion.

    Every call that needs a key is refused, and private WebSockets are closed and refused.
    """

    ms_min: Milliseconds = 0.0
    ms_max: Milliseconds = 0.0
    upbit_error: str = "expired_access_key"
    """The error's name, or no_authorization_ip or invalid_access_key. Binance always sends -2015."""


class MarketFault(TimedFault, frozen=True, kw_only=True):
    """Changes markets for the time; 0: until cleared. Each second is an occasion."""

    market: Markets = ""
    ms_min: Milliseconds = 0.0
    ms_max: Milliseconds = 0.0


class MarketStateFault(MarketFault, frozen=True, kw_only=True):
    """Closes markets, warns of them in the listing (Upbit), or removes them from it. The listing shows the state.

    Orders are refused unless the state is ``warned``. The books of ``break``, ``halt`` and ``delisted`` do not
    change and are not sent any more.
    """

    state: Literal["cancel_only", "break", "halt", "delisted", "warned"] = "break"
    caution: Annotated[str, matching(r"^[A-Z_]{0,64}\Z", "must be at most 64 characters of A-Z and '_'")] = ""
    """With ``warned``: the listing has the caution of this name instead of the warning."""


class ChangedRulesFault(MarketFault, frozen=True, kw_only=True):
    """Makes ticks, lots (Binance) and minimums so many times as coarse.

    The listing shows it, and orders by the old rules are refused.
    """

    tick: Literal[1, 2, 5, 10] = 1
    lot: Annotated[int, Meta(ge=1, le=1_000)] = 1
    minimum: Annotated[int, Meta(ge=1, le=1_000)] = 1


class ChangedFeesFault(TimedFault, frozen=True, kw_only=True):
    """Charges new orders another fee, for the time; 0: until cleared. Each second is an occasion."""

    ms_min: Milliseconds = 0.0
    ms_max: Milliseconds = 0.0
    bps: Annotated[float, Meta(ge=0, le=1_000)] = 20.0


class QuietBookFault(MarketFault, frozen=True, kw_only=True):
    """Limits how often books change and are sent."""

    every_s: Annotated[float, Meta(gt=0, le=86_400)] = 4.0


class LateFramesFault(MarketFault, frozen=True, kw_only=True):
    """Sends frames so long after they were made; they carry the time at which they were made."""

    late_ms: Annotated[int, Meta(ge=1, le=60_000)] = 3_000


class WrongFrameFault(Fault, frozen=True, kw_only=True):
    """Sends a book that is valid in itself but far off, and 5 ms later the right one. Orders meet the right one.

    Each second is an occasion.
    """

    market: Markets = ""
    bps: Annotated[float, Meta(ge=-5_000, le=5_000)] = 1_000.0


class FxBlipFault(TimedFault, frozen=True, kw_only=True):
    """Moves Upbit's KRW-USDT alone and back; coins keep their prices. Each second is an occasion."""

    venue: Literal["", "upbit"] = ""
    ms_min: Milliseconds = 500.0
    ms_max: Milliseconds = 3_000.0
    bps: Annotated[float, Meta(ge=-5_000, le=5_000)] = 200.0


class ClosedWalletFault(MarketFault, frozen=True, kw_only=True):
    """Closes deposits and withdrawals of coins: the coin gets dearer or cheaper at this venue and stays so.

    The venue's states of wallets show it.
    """

    wallet: Literal["paused", "deposit_only", "withdraw_only"] = "paused"
    gap_bps: Annotated[float, Meta(ge=-5_000, le=5_000)] = 120.0


class HandTransferFault(Fault, frozen=True, kw_only=True):
    """Makes the owner of the account move money or coins. Each second is an occasion."""

    currency: ShortText = "KRW"
    part: Annotated[float, Meta(ge=-1, le=1)] = -0.1
    """Share of the free balance that is moved; below 0 it leaves the venue."""


class HandTradeFault(Fault, frozen=True, kw_only=True):
    """Makes the owner of the account trade beside the program, at the book's prices. Each second is an occasion."""

    market: Markets = ""
    """Markets of which the first is traded; empty for the venue's first market of a coin."""
    side: Literal["buy", "sell"] = "sell"
    part: Annotated[float, Meta(gt=0, le=1)] = 0.1
    """Share of the free balance that is traded."""


class ShutdownNoticeFault(SocketFault, frozen=True, kw_only=True):
    """Sends ``serverShutdown``, and closes the WebSockets after the time."""

    venue: Literal["", "binance"] = ""
    ms_min: Milliseconds = 1000.0
    ms_max: Milliseconds = 5000.0


class FaultsConfig(Section, frozen=True, kw_only=True):
    """Sets what may go wrong at the simulated exchanges. All is off at first."""

    seed: Seed = 1
    delay: DelayFault = DelayFault()
    lost_request: RequestFault = RequestFault()
    """The connection is cut before the call is examined."""
    lost_reply: RequestFault = RequestFault()
    """The call is carried out, and the connection cut before the reply."""
    error_500: RequestFault = RequestFault()
    """The call is carried out, and answered with an error: Binance -1007 (status unknown), Upbit 500."""
    rate_limited: RateLimitedFault = RateLimitedFault()
    redirect: RedirectFault = RedirectFault()
    event_before_reply: EventBeforeReplyFault = EventBeforeReplyFault()
    duplicate_reply: Fault = Fault()
    """Binance sends a reply over its WebSocket API twice. Each reply is an occasion."""
    session_revoked: Fault = Fault()
    """Binance ends the logon of a connection to its WebSocket API: the call is not carried out, and the answer names
    no call. Each call without a signature of its own is an occasion."""
    duplicate_event: Fault = Fault()
    """A private event is sent twice. Each is an occasion, for each client."""
    late_event: LateEventFault = LateEventFault()
    partial_fill: PartialFillFault = PartialFillFault()
    reject: RejectFault = RejectFault()
    denied: DeniedFault = DeniedFault()
    disconnect: DisconnectFault = DisconnectFault()
    silent_stall: SilentStallFault = SilentStallFault()
    sequence_gap: SequenceGapFault = SequenceGapFault()
    clock_skew: ClockSkewFault = ClockSkewFault()
    maintenance: MaintenanceFault = MaintenanceFault()
    shutdown_notice: ShutdownNoticeFault = ShutdownNoticeFault()
    key_revoked: KeyRevokedFault = KeyRevokedFault()
    market_state: MarketStateFault = MarketStateFault()
    changed_rules: ChangedRulesFault = ChangedRulesFault()
    changed_fees: ChangedFeesFault = ChangedFeesFault()
    quiet_book: QuietBookFault = QuietBookFault()
    late_frames: LateFramesFault = LateFramesFault()
    wrong_frame: WrongFrameFault = WrongFrameFault()
    fx_blip: FxBlipFault = FxBlipFault()
    closed_wallet: ClosedWalletFault = ClosedWalletFault()
    hand_transfer: HandTransferFault = HandTransferFault()
    hand_trade: HandTradeFault = HandTradeFault()
    rounded_statement: Fault = Fault(share=1.0)
    """Upbit's balances are cut to 8 decimals; the venue itself keeps all. Each statement is an occasion. The real one
    does so, so this is on by default; with a share of 0 all digits are printed."""
    figures_as_doubles: Fault = Fault(share=1.0)
    """The numbers of Upbit's private events are doubles, not exact decimals. Each event is an occasion. The real one
    documents doubles, so this is on by default; with a share of 0 they are exact."""


class SimConfig(Section, frozen=True):
    """Describes how the simulated exchanges behave."""

    seed: Seed = 7
    regime: Regime = "mixed"
    coins: Annotated[int, Meta(ge=1, le=3000)] = 30
    updates_per_s: Annotated[float, Meta(gt=0, le=100)] = 10.0
    """Book updates of each market per second."""
    depth_interval_ms: Annotated[int, Meta(ge=0, le=1000)] = 100
    """The depth streams of 100 ms go at such intervals, while ``@bookTicker`` and trades go with each update; 0: all
    go with each update."""
    depth: Annotated[int, Meta(ge=5, le=30)] = 30
    """Levels kept on each side of a book."""
    aliases: tuple[CoinPair, ...] = ()
    """Coins that Binance lists under another ticker than Upbit, as ``symbols.aliases`` names them."""
    host: str = "127.0.0.1"
    expose: bool = False
    """Whether ``host`` may be an address that other machines can reach. Whoever knows the keys of the accounts can
    then trade on them, and the default keys are public.
    """
    upbit_port: PortNumber = 0
    """The port; 0 for any free one."""
    binance_port: PortNumber = 0
    tls: bool = False
    """Listen with TLS too, under a certificate authority made at each start; the run then uses these addresses."""
    upbit_tls_port: PortNumber = 0
    binance_tls_port: PortNumber = 0
    accounts: SimAccountsConfig = msgspec.field(default_factory=SimAccountsConfig)
    faults: FaultsConfig = msgspec.field(default_factory=FaultsConfig)

    def __post_init__(self) -> None:
        """Raise ``ValueError`` (msgspec adds the path) for a host that other machines reach, unless they may."""
        if not self.expose and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} may be reached from other machines: take 127.0.0.1, or set expose = true"
            )

    def binance_ticker(self, base: str) -> str:
        """Return the ticker at Binance of the coin that is ``base`` at Upbit."""
        pairs = (alias.split(" ") for alias in self.aliases)
        tickers = (away.partition(":")[2] for home, away in pairs if home == f"upbit:{base}")
        return next(tickers, base)

    def on_ports(self, ports: Mapping[str, int], *, tls: bool = False) -> "SimConfig":
        """Return the same exchanges on these ports, by venue; ``tls``: on these ports with TLS."""
        kind = "tls_port" if tls else "port"
        return msgspec.structs.replace(self, **{f"{venue}_{kind}": port for venue, port in ports.items()})

    def port_of(self, venue: str) -> int:
        """Return the port of ``venue``; 0 for any."""
        port: int = getattr(self, f"{venue}_port")
        return port


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach ``host``."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
