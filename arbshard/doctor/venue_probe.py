"""Asks one venue whether it accepts our key, and for permissions, balances, fees, limits and ticks."""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from secrets import token_hex

from msgspec.structs import replace

from arbshard.accounts.stream import PrivateStream
from arbshard.clock import Clock
from arbshard.config import Config
from arbshard.data.clients import open_client
from arbshard.doctor.facts import ProbeResult, ReportedTick, VenueFacts
from arbshard.doctor.reach import may_pass, probe_public_stream, probe_rest
from arbshard.errors import FrameError, VenueUnavailable
from arbshard.execution.live.errors import understand
from arbshard.model.book import OrderBookSnapshot
from arbshard.model.market import Leg
from arbshard.model.money import ceil_to, exact
from arbshard.model.order import Order
from arbshard.model.universe import Universe
from arbshard.model.warning import WalletWarning
from arbshard.venues.base.account import ReportedBalances, ReportedOrder
from arbshard.venues.base.request import VenueRequest
from arbshard.venues.base.rules import Rates, ReportedLimit, Rights, RulesReply
from arbshard.venues.keys import Keys
from arbshard.venues.registry import get_adapter

_STREAM_TIMEOUT_S = 12.0
_TEST_NOTIONAL = 2
"""The test order is so many times the venue's minimum."""
_NEAR = Decimal("0.01")


class VenueProbe:
    """Examines one venue once."""

    def __init__(
        self,
        config: Config,
        universe: Universe,
        name: str,
        keys: Keys,
        books: Mapping[str, OrderBookSnapshot],
        clock: Clock,
    ) -> None:
        """Prepare the calls; ``books`` are by symbol, where they could be read. Raises ``UsageError``."""
        self._config = config
        self._settings = config.venues.get(name)
        self._name = name
        self._keys = keys
        self._books = books
        self._clock = clock
        self._adapter = get_adapter(name)
        self._venue = self._adapter.account
        self._rules = self._adapter.rules
        self._legs = [leg for leg in universe.legs() if leg.market.venue == name]
        self._leg = universe.pairs[0].leg(name)
        self._coins = {pair.leg(name).market.base for pair in universe.pairs}
        self._warned = tuple(one for one in universe.warnings if one.venue == name)
        self._client = open_client(name, config, keys, clock)
        self._missing: list[str] = []

    async def facts(self) -> VenueFacts:
        """Return everything that can be found out."""
        try:
            rest, public = await asyncio.gather(
                probe_rest(self._config, self._name),
                probe_public_stream(self._config, self._name, self._clock),
            )
            if not rest.ok:
                nothing = ProbeResult(ok=False, why="not tried")
                return VenueFacts(
                    venue=self._name,
                    rest_url=self._settings.rest_url,
                    rest=rest,
                    public_stream=public,
                    private_stream=nothing,
                )
            return await self._account(rest, public)
        finally:
            await self._client.close()

    async def _account(self, rest: ProbeResult, public: ProbeResult) -> VenueFacts:
        ahead = await self._clock_ahead()
        account, accepted = await self._try(self._venue.balances_call())
        if account is None:
            return VenueFacts(
                venue=self._name,
                rest_url=self._settings.rest_url,
                rest=rest,
                public_stream=public,
                private_stream=ProbeResult(ok=False, why="not tried"),
                ahead_ms=ahead[0] if ahead else None,
                ahead_off_ms=ahead[1] if ahead else 0,
                account=accepted,
            )
        private = await self._private_stream(ahead[0] if ahead else 0)
        balances = self._venue.balances_of(account.body)
        return VenueFacts(
            venue=self._name,
            rest_url=self._settings.rest_url,
            rest=rest,
            public_stream=public,
            private_stream=private,
            ahead_ms=ahead[0] if ahead else None,
            ahead_off_ms=ahead[1] if ahead else 0,
            account=accepted,
            free={currency: one.free for currency, one in balances.items()},
            rights=await self._rights(account),
            test_order=await self._test_order(),
            rates=await self._rates(),
            limits=await self._limits(),
            ticks=await self._ticks(),
            warnings=(*self._warned, *await self._wallets()),
            missing=tuple(self._missing),
        )

    async def _private_stream(self, ahead_ms: int) -> ProbeResult:
        if self._venue.address(self._settings) is None:
            return ProbeResult(ok=True)
        window_ms = self._config.live.recv_window_ms
        stream = PrivateStream(
            self._venue,
            self._settings,
            self._keys,
            _IgnoredEvents(),
            _NoCounters(),
            self._clock,
            window_ms,
            self._config.run.receiver,
        )
        stream.ahead_ms = ahead_ms
        tasks = asyncio.create_task(stream.run()), asyncio.create_task(stream.tried.wait())
        try:
            done, _ = await asyncio.wait(
                tasks, timeout=_STREAM_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()  # raises, for example, for a key that cannot sign
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return ProbeResult(
            ok=bool(done) and not stream.why, why=stream.why or ("" if done else "no answer in time")
        )

    async def _clock_ahead(self) -> tuple[int, int] | None:
        """Return by how many ms the venue's clock is ahead, and the largest error; None when it reports no time.

        Later requests are signed with that time.
        """
        before_ms = self._clock.wall_ms()
        request = self._venue.clock_call()
        try:
            answer = await self._client.call(request)
            after_ms = self._clock.wall_ms()
            reported_ms, off_ms = self._venue.clock_of(answer.body, answer.headers)
        except (VenueUnavailable, FrameError):
            return None
        ahead_ms = reported_ms - (before_ms + after_ms) // 2
        self._client.set_clock(ahead_ms)
        return ahead_ms, off_ms + (after_ms - before_ms) // 2

    async def _rights(self, account: RulesReply) -> Rights:
        """Return what the key may do; a venue that does not report it may still report what the account may do."""
        reported: RulesReply | None = None
        request, why = self._rules.rights_call(), ""
        if request is not None:
            reported, why = await self._ask(request)
        try:
            rights = self._rules.rights_of(reported, account)
        except FrameError as error:
            rights, why = Rights(), str(error)
        if why and rights.withdraw is not False:
            self._missing.append(f"what the key may do: {why}")
        return rights

    async def _test_order(self) -> ProbeResult:
        """Send a test order: the smallest that the venue accepts, at the best bid, so that every rule of rounding
        counts.
        """
        book = self._books.get(self._leg.market.symbol)
        if book is None:
            return ProbeResult(ok=False, why=f"no price of {self._leg.market.symbol}")
        rules = self._leg.rules
        limit = rules.round_price(exact(book.best_bid), "buy")
        wanted = max(_TEST_NOTIONAL * rules.notional_min / limit, rules.quantity_min)
        order = Order("doctor", self._leg.market, "buy", ceil_to(wanted, rules.lot), limit)
        request = self._adapter.orders.rehearse(order, f"doctor-{token_hex(8)}")
        if request is None:
            self._missing.append("a test order: the venue has no call for it")
            return ProbeResult(ok=True)
        _, accepted = await self._try(request)
        # A lack of money is not a fault of the order: the check of balances reports it.
        return replace(accepted, ok=accepted.ok or accepted.why.startswith("insufficient_funds"))

    async def _rates(self) -> Rates | None:
        symbol = self._leg.market.symbol
        reply, why = await self._ask(self._rules.rates_call(symbol))
        try:
            if reply is not None:
                return self._rules.rates_of(symbol, reply)
        except FrameError as error:
            why = str(error)
        self._missing.append(f"fees: {why}")
        return None

    async def _limits(self) -> tuple[ReportedLimit, ...]:
        reply, why = await self._ask(self._rules.limits_call(self._leg.market.symbol))
        try:
            if reply is not None and (reported := self._rules.limits_of(reply)):
                return reported
        except FrameError as error:
            why = str(error)
        self._missing.append(f"rate limits: {why or 'not in the answer'}")
        return ()

    async def _ticks(self) -> tuple[ReportedTick, ...]:
        """Return the ticks at the present prices."""
        legs = {leg.market.symbol: leg for leg in self._legs if leg.market.symbol in self._books}
        found: list[ReportedTick] = []
        for request in self._rules.ticks_calls(tuple(legs)):
            reply, why = await self._ask(request)
            try:
                reported = self._rules.ticks_of(reply) if reply is not None else {}
            except FrameError as error:
                reported, why = {}, str(error)
            if not reported:
                self._missing.append(f"ticks: {why or 'not in the answer'}")
            for symbol, tick in reported.items():
                if symbol in legs:
                    found.append(_compared(legs[symbol], exact(self._books[symbol].mid), tick))
        return tuple(found)

    async def _wallets(self) -> list[WalletWarning]:
        """Return the warnings about coins to be traded that cannot be moved as usual."""
        request = self._venue.wallets_call() if self._config.warnings.wallets_every_s else None
        if request is None:
            return []
        reply, why = await self._ask(request)
        try:
            if reply is not None:
                warnings, _ = self._venue.wallets_of(reply.body)
                return [one for one in warnings if one.currency in self._coins]
        except FrameError as error:
            why = str(error)
        self._missing.append(f"which deposits and withdrawals are open: {why}")
        return []

    async def _ask(self, request: VenueRequest) -> tuple[RulesReply | None, str]:
        """Return a good answer, or None and the reason."""
        reply, accepted = await self._try(request)
        return reply, accepted.why

    async def _try(self, request: VenueRequest) -> tuple[RulesReply | None, ProbeResult]:
        """Return a good answer or None, and whether there is one."""
        try:
            answer = await self._client.call(request)
        except VenueUnavailable as error:
            return None, ProbeResult(ok=False, why=str(error), may_pass=True)
        said = understand(self._name, answer.status, answer.body)
        if said.meaning != "accepted":
            why = said.detail or f"HTTP {answer.status}"
            return None, ProbeResult(ok=False, why=why, may_pass=may_pass(answer))
        return RulesReply(answer.body, answer.headers), ProbeResult(ok=True)


class _IgnoredEvents:
    """Implements ``stream.StreamListener``; events are ignored, because only the connection counts."""

    def on_up(self) -> None:
        pass

    def on_order(self, report: ReportedOrder) -> None:
        pass

    def on_balances(self, report: ReportedBalances) -> None:
        pass


class _NoCounters:
    """Implements ``stream.Counting`` without counting."""

    def count(self, name: str) -> None:
        pass

    def set(self, name: str, value: int) -> None:
        pass


def _compared(leg: Leg, price: Decimal, reported: Decimal) -> ReportedTick:
    """Compare the venue's tick with ours. The price may have moved to the next band, so nearby ticks are
    right too.
    """
    near = {leg.rules.tick_at(price * (1 + shift)) for shift in (-_NEAR, _NEAR)}
    ours = reported if reported in near else leg.rules.tick_at(price)
    return ReportedTick(leg.market.symbol, price, reported, ours)
