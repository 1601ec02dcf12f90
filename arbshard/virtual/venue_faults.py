"""Simulates faults of venues: of their connections, their REST calls, their order events, and their accounts.

Each method is one kind of fault of ``rates``. It returns a ``Spell``, or a text for the trace when the fault ends at
once, or an empty text when there is nothing that it can affect.
"""

from decimal import Decimal
from random import Random

from arbshard.exchanges.accounts.order import Ticket
from arbshard.venues.registry import AWAY, HOME
from arbshard.virtual.exchange import VirtualStream
from arbshard.virtual.network_conditions import NetworkConditions
from arbshard.virtual.settings import TAG
from arbshard.virtual.spells import Spell, VirtualSpells
from arbshard.virtual.stand_ins import VirtualWorld
from arbshard.virtual.trading import TradingVenue
from arbshard.virtual.venue_books import STRAY

_ROUND_TRIP_NS = 60_000_000
"""No message to a venue and its answer usually take longer than this together."""
_LEAST = Decimal("0.00000001")


class VirtualVenueFaults:
    """Draws the details of a fault of a venue and carries it out."""

    def __init__(
        self, world: VirtualWorld, network: NetworkConditions, random: Random, spells: VirtualSpells
    ) -> None:
        self._world = world
        self._network = network
        self._random = random
        self._spells = spells

    def _connections(self) -> list[VirtualStream]:
        return [one for venue in self._world.exchanges.venues.values() for one in venue.connections]

    def cut(self) -> str:
        """Reset a connection."""
        return self._cut_one(self._connections())

    def cut_private(self) -> str:
        """Reset a connection that carries the events of our own orders."""
        return self._cut_one([one for one in self._connections() if one.is_private and not one.is_for_orders])

    def cut_orders(self) -> Spell | None:
        """Reset a connection that carries orders just after the next message over it: before the venue has it, while
        its answer is under way, or after that.
        """
        streams = [one for one in self._connections() if one.is_for_orders]
        if not streams:
            return None
        stream = self._random.choice(streams)
        after_ns = int(self._random.uniform(0, _ROUND_TRIP_NS))

        def arm(cuts_after_ns: int | None) -> None:
            stream.cuts_after_ns = cuts_after_ns

        return Spell(
            self._random.uniform(2.0, 20.0),
            lambda: arm(after_ns),
            lambda: arm(None),
            f"#{stream.number} {after_ns} after a message",
        )

    def _cut_one(self, streams: list[VirtualStream]) -> str:
        if not streams:
            return ""
        stream = self._random.choice(streams)
        stream.cut("connection reset")
        return f"#{stream.number}"

    def stall(self) -> Spell | None:
        """Keep a connection open, but let it send nothing."""
        streams = self._connections()
        if not streams:
            return None
        stream = self._random.choice(streams)

        def set_silent(is_silent: bool) -> None:
            stream.is_silent = is_silent

        seconds = self._random.choice((1.0, 3.0, 10.0, 40.0)) * self._random.uniform(0.5, 1.5)
        return Spell(seconds, lambda: set_silent(True), lambda: set_silent(False), f"#{stream.number}")

    def outage(self) -> Spell:
        """Reset all connections of a venue and make it unreachable."""
        venue = self._world.exchanges.venues[self._random.choice(tuple(self._world.exchanges.venues))]

        def begin() -> None:
            venue.is_reachable = False
            for stream in tuple(venue.connections):
                stream.cut("the venue is gone")

        def end() -> None:
            venue.is_reachable = True

        return Spell(self._random.uniform(0.5, 20.0), begin, end, venue.name)

    def slow_frames(self) -> Spell:
        """Delay the frames of all venues."""
        most_ns = int(self._random.uniform(50, 1200) * 1e6)
        return self._network.spell(self._random.uniform(1.0, 20.0), f"by {most_ns}", frame_slow_ns=most_ns)

    def late_fills(self) -> Spell:
        """Report some last executions of an order after the order's end. Only the paper venue does this."""
        share = self._random.uniform(0.05, 0.3)
        return self._network.spell(self._random.uniform(20.0, 120.0), f"{share:.3f}", late_share=share)

    # live orders

    def slow_calls(self) -> Spell:
        """Delay REST calls and their answers."""
        most_ns = int(self._random.choice((200, 1_000, 4_000)) * self._random.uniform(0.5, 1.0) * 1e6)
        return self._network.spell(self._random.uniform(2.0, 20.0), f"by {most_ns}", call_slow_ns=most_ns)

    def silent_calls(self) -> Spell:
        """Lose some REST calls, or their answers, without an error."""
        share = self._random.uniform(0.05, 0.4)
        return self._network.spell(self._random.uniform(2.0, 20.0), f"{share:.3f}", call_lost_share=share)

    def lost_calls(self) -> Spell:
        """Lose some REST calls at a venue before it has acted on them."""
        share = round(self._random.uniform(0.05, 0.6), 3)
        return self._at_venue("lost_request", self._random.uniform(2.0, 20.0), share=share, calls="all")

    def lost_answers(self) -> Spell:
        """Lose the answers to some REST calls at a venue after it has acted on them."""
        share = round(self._random.uniform(0.05, 0.6), 3)
        return self._at_venue("lost_reply", self._random.uniform(2.0, 20.0), share=share, calls="all")

    def server_errors(self) -> Spell:
        """Answer some REST calls of a venue with status 500."""
        share = round(self._random.uniform(0.05, 0.6), 3)
        return self._at_venue("error_500", self._random.uniform(2.0, 20.0), share=share, calls="all")

    def rate_limits(self) -> Spell:
        """Answer some REST calls of a venue with status 429 or 418 and a time to wait."""
        share = round(self._random.uniform(0.05, 0.4), 3)
        status, wait_s = self._random.choice(((429, 1), (429, 3), (418, 5)))
        return self._at_venue(
            "rate_limited", self._random.uniform(1.0, 10.0), share=share, status=status, retry_after_s=wait_s
        )

    def refusals(self) -> Spell:
        """Refuse some orders at a venue."""
        share = round(self._random.uniform(0.1, 0.5), 3)
        return self._at_venue("reject", self._random.uniform(5.0, 40.0), share=share)

    def disordered_events(self) -> Spell:
        """Send some order events of a venue late, or twice."""
        kind = self._random.choice(("late_event", "duplicate_event"))
        share = round(self._random.uniform(0.1, 0.7), 3)
        return self._at_venue(kind, self._random.uniform(10.0, 60.0), share=share)

    def late_replies(self) -> Spell:
        """Delay replies of a venue, some for longer than they are waited for; the calls are carried out at once."""
        share = round(self._random.uniform(0.05, 0.4), 3)
        most_ms = self._random.choice((500.0, 2_000.0, 6_000.0))
        return self._at_venue("delay", self._random.uniform(2.0, 20.0), share=share, ms_max=most_ms)

    def doubled_replies(self) -> Spell | None:
        """Send replies over the WebSocket for orders twice."""
        if not self._carries_orders:
            return None
        return self._of_venue(
            self._world.exchanges.trading[AWAY],
            "duplicate_reply",
            self._random.uniform(10.0, 60.0),
            share=round(self._random.uniform(0.1, 0.7), 3),
        )

    def lost_logons(self) -> str:
        """End the logon of a connection that carries orders with the next call that is not signed."""
        live = self._world.live
        if live is None or not self._carries_orders or not live.keys()[AWAY].is_ed25519:
            return ""
        venue = self._world.exchanges.trading[AWAY]
        venue.set_faults({"once": {"session_revoked": {}}})
        return venue.name

    @property
    def _carries_orders(self) -> bool:
        return self._world.config.venues.get(AWAY).order_api == "ws"

    def _a_venue(self) -> TradingVenue:
        venues = self._world.exchanges.trading
        return venues[self._random.choice(tuple(venues))]

    def _at_venue(self, name: str, seconds: float, **settings: object) -> Spell:
        """Return a spell of the fault ``name``, which a venue can carry out by itself."""
        return self._of_venue(self._a_venue(), name, seconds, **settings)

    def _of_venue(self, venue: TradingVenue, name: str, seconds: float, **settings: object) -> Spell:
        usual = self._world.config.sim.faults.reject.share if name == "reject" else 0.0
        return Spell(
            seconds,
            lambda: venue.set_faults({"set": {name: settings}}),
            lambda: venue.set_faults({"set": {name: {"share": usual}}}),
            f"{venue.name} {settings}",
        )

    # the account

    def by_hand(self) -> str:
        """Move money or coins as a person does who withdraws, deposits, or trades at the venue's own screen."""
        venue = self._a_venue()
        currencies = [one for one in venue.account.wallet.balances() if one.free]
        one = self._random.choice(currencies)
        share = Decimal(self._random.randint(-300, 300)) / 10_000
        amount = (one.free * share).quantize(_LEAST)
        if not amount:
            return ""
        venue.deposit(one.currency, amount)
        return f"{venue.name} {one.currency} {amount}"

    def stray(self) -> Spell | None:
        """Place an order of ours at a venue that the ledger does not know, as after the loss of a ledger."""
        venue = self._a_venue()
        pair = self._random.choice(self._world.universe.pairs)
        leg = pair.home if pair.home.market.venue == venue.name else pair.away
        rules, market = leg.rules, leg.market
        top = self._world.exchanges.best_ask(venue.name, market.symbol)
        # At three times the price it is not filled.
        price = rules.round_price(top * 3, "sell")
        quantity = rules.round_quantity(
            Decimal(50_000) / (top if venue.name == HOME else top * 1_400) + rules.lot
        )
        name = f"{TAG}-s999-0-1-{self._spells.new_number()}{STRAY}"
        order = venue.place_by_hand(
            Ticket(market.symbol, "sell", "limit", "gtc", price, quantity, client_id=name)
        )
        if order is None:
            return None
        return Spell(
            self._random.uniform(30.0, 180.0),
            lambda: None,
            lambda: venue.cancel_by_hand(order),
            f"{venue.name} {name}",
        )
