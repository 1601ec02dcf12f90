"""When risk halts by itself, at, below and above each limit; and when it does so again."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.config import Config, ExecutionConfig
from arbshard.ledger.events import Halted
from arbshard.model.refusal import Refusal
from arbshard.wire.messages import Approved, Extend, Halt, Resume, SetLimits
from support import world as w

GAIN = Decimal(980_000)
"""Home price at which the usual round trip wins."""


def halts(world) -> list[str]:
    return [event.cause for event in world.events if isinstance(event, Halted)]


def lost() -> Decimal:
    return -w.World().round_trip().pnl


class TestDailyLoss:
    def test_at_the_limit_and_not_below(self) -> None:
        for limit, causes in ((lost() + 1, []), (lost(), ["daily_loss"]), (lost() - 1, ["daily_loss"])):
            world = w.World(config=w.with_limits(halt_daily_loss=limit, halt_drawdown=Decimal(10**9)))
            world.round_trip()
            assert halts(world) == causes

    def test_it_is_in_the_same_batch_as_the_loss(self) -> None:
        world = w.World(config=w.with_limits(halt_daily_loss=Decimal(1000)))
        world.round_trip()
        assert world.submit(world.entry("ETH")).reason is Refusal.HALTED

    def test_the_next_day_does_not_resume(self) -> None:
        world = w.World(config=w.with_limits(halt_daily_loss=Decimal(1000)))
        world.round_trip()
        world.tick(86_400_000)
        assert world.submit(world.entry()).reason is Refusal.HALTED

    def test_once_resumed_it_does_not_halt_again_on_the_same_day(self) -> None:
        world = w.World(config=w.with_limits(halt_daily_loss=Decimal(1000)))
        world.round_trip()
        world.tell(Resume("seen"))
        world.round_trip("ETH")  # loses more
        world.tick()
        assert halts(world) == ["daily_loss"]
        world = world.restart()
        world.tick()
        assert halts(world) == ["daily_loss"]

    def test_the_next_day_it_halts_for_the_next_days_loss(self) -> None:
        world = w.World(config=w.with_limits(halt_daily_loss=Decimal(1000)))
        world.round_trip()
        world.tell(Resume("seen"))
        world.tick(86_400_000)
        assert len(halts(world)) == 1
        world.round_trip()
        assert len(halts(world)) == 2

    def test_another_limit_is_another_matter(self) -> None:
        world = w.World(config=w.with_limits(halt_daily_loss=Decimal(1000)))
        world.round_trip()
        world.tell(Resume("seen"))
        world.tell(SetLimits((("halt_daily_loss", "2000"),)))
        world.tick()
        assert len(halts(world)) == 1
        world.round_trip()
        assert len(halts(world)) == 2

    def test_a_limit_that_is_lowered_halts_with_the_next_tick(self) -> None:
        world = w.World()
        world.round_trip()
        world.tell(SetLimits((("halt_daily_loss", "1000"),)))
        world.tick()
        assert halts(world) == ["daily_loss"]


def test_drawdown() -> None:
    probe = w.World()
    probe.round_trip(home_out=GAIN)
    probe.round_trip()
    fell = probe.state.results.drawdown(probe.day)
    for limit, causes in ((fell + 1, []), (fell, ["drawdown"])):
        world = w.World(config=w.with_limits(halt_drawdown=limit))
        world.round_trip(home_out=GAIN)
        world.round_trip()
        assert halts(world) == causes


def quick(**limits: int) -> Config:
    """Limit, and no pause after an entry that was refused."""
    return replace(w.with_limits(**limits), execution=ExecutionConfig(pause_s=1e-6))


class TestErrors:
    def reject(self, world, apart_ms=0, state="REJECTED") -> None:
        """One entry, of which one order ends in ``state``."""
        world.now_ms += apart_ms
        intent = world.entry()
        assert isinstance(world.submit(intent), Approved)
        world.report(intent, w.OrderResult(intent.home, state))
        world.report(intent, w.expired(intent.home), w.expired(intent.away))
        world.conclude(intent)

    @pytest.mark.parametrize(
        ("state", "key"), [("REJECTED", "halt_rejects_per_min"), ("UNKNOWN", "halt_unknown_per_min")]
    )
    def test_so_many_within_a_minute(self, state, key) -> None:
        world = w.World(config=quick(**{key: 3}))
        self.reject(world, state=state)
        self.reject(world, state=state)
        assert halts(world) == []
        self.reject(world, state=state)
        assert halts(world) == ["errors"]
        assert "within a minute, the limit is 3" in world.state.standing.halt.reason

    def test_older_than_a_minute_is_forgotten(self) -> None:
        world = w.World(config=quick(halt_rejects_per_min=3))
        for _ in range(10):
            self.reject(world, apart_ms=30_000)
        assert halts(world) == []

    def test_hedges_count_and_pass(self) -> None:
        world = w.World(config=quick(halt_hedges_per_min=2))
        intent = world.entry()
        world.submit(intent)
        world.report(intent, w.filled(intent.away))
        for n in (1, 2, 3):
            order = w.Order(
                f"{intent.intent_id}-h{n}", intent.home.market, "sell", Decimal("0.1"), Decimal(1), "hedge"
            )
            assert isinstance(world.ask(Extend(0, 1, intent.intent_id, order)), Approved)
        assert halts(world) == ["errors"]

    def test_after_a_resume_it_counts_anew(self) -> None:
        world = w.World(config=quick(halt_rejects_per_min=2))
        self.reject(world)
        self.reject(world)
        world.tell(Resume("mended"))
        self.reject(world)
        world.tick()
        assert halts(world) == ["errors"]
        self.reject(world)
        assert halts(world) == ["errors", "errors"]


class TestOrdersOfLostWorkers:
    """A worker is lost with orders under way, and another one continues its intents."""

    BASES = tuple(f"C{n}" for n in range(20))
    LEARN_MS = 70_000
    """``live.not_found_after_s`` and a minute."""

    @pytest.fixture
    def world(self):
        return w.World(self.BASES, config=quick(halt_unknown_per_min=30))

    def lose(self, world) -> list:
        """Open an intent of each pair, lose their worker, and let another one begin. Return the intents."""
        intents = [world.entry(base) for base in self.BASES]
        for intent in intents:
            assert isinstance(world.submit(intent), Approved)
        world.epoch = 2000
        world.ask(world.hello())
        return intents

    def ask_in_vain(self, world, intents) -> None:
        for intent in intents:
            unknown = [w.OrderResult(order, "UNKNOWN") for order in (intent.home, intent.away)]
            world.report(intent, *unknown)

    def end(self, world, intents) -> None:
        for intent in intents:
            world.report(intent, w.expired(intent.home), w.expired(intent.away))
            world.conclude(intent)

    def test_what_is_learned_in_time_does_not_halt(self, world) -> None:
        intents = self.lose(world)
        self.ask_in_vain(world, intents)
        world.tick(self.LEARN_MS - 1000)
        self.end(world, intents)
        world.tick(self.LEARN_MS)
        assert halts(world) == []

    def test_each_pair_enters_nothing_meanwhile(self, world) -> None:
        self.ask_in_vain(world, self.lose(world))
        assert world.submit(world.entry(self.BASES[0])).reason is Refusal.PAIR_BUSY

    def test_what_stays_unknown_halts(self, world) -> None:
        intents = self.lose(world)
        self.ask_in_vain(world, intents)
        self.end(world, intents[:5])  # 30 are left
        world.tick(self.LEARN_MS - 1000)
        assert halts(world) == []
        world.tick(1000)
        assert halts(world) == ["errors"]
        assert "30 orders of unknown outcome" in world.state.standing.halt.reason

    def test_one_less_does_not(self, world) -> None:
        intents = self.lose(world)
        self.ask_in_vain(world, intents)
        self.end(world, intents[:5])
        world.report(intents[5], w.expired(intents[5].home))
        world.tick(self.LEARN_MS)
        assert halts(world) == []

    def test_risk_that_begins_anew_forgets_none(self, world) -> None:
        self.ask_in_vain(world, self.lose(world))
        world = world.restart()
        world.tick(self.LEARN_MS - 1000)
        assert halts(world) == []
        world.tick(1000)
        assert halts(world) == ["errors"]

    def test_a_person_who_resumes_accepts_them(self, world) -> None:
        self.ask_in_vain(world, self.lose(world))
        world.tell(Halt("let me see", flatten=False))
        world.tell(Resume("they are known at the venue"))
        world.tick(self.LEARN_MS)
        assert halts(world) == ["operator"]

    def test_an_order_of_the_workers_own_counts_at_once(self) -> None:
        world = w.World(self.BASES, config=quick(halt_unknown_per_min=2))
        (left, *_) = self.lose(world)
        own = world.entry("C0")
        assert world.submit(own).reason is Refusal.PAIR_BUSY
        self.end(world, [left])
        own = world.entry("C0")
        assert isinstance(world.submit(own), Approved)
        self.ask_in_vain(world, [own])
        assert halts(world) == ["errors"]

    def test_a_hedge_counts_at_once(self) -> None:
        world = w.World(self.BASES, config=quick(halt_unknown_per_min=1))
        intent = self.lose(world)[0]
        world.report(intent, w.expired(intent.home), w.filled(intent.away))
        hedge = w.Order(
            f"{intent.intent_id}-h1", intent.home.market, "sell", Decimal("0.1"), Decimal(1), "hedge"
        )
        assert isinstance(world.ask(Extend(0, world.epoch, intent.intent_id, hedge)), Approved)
        world.report(intent, w.OrderResult(hedge, "UNKNOWN"))
        assert halts(world) == ["errors"]


class TestStaleFeeds:
    @pytest.fixture
    def world(self):
        return w.World(config=w.with_limits(halt_stale_feeds_s=2.0))

    def test_so_long_without_a_word(self, world) -> None:
        world.tick(feeds_silent=True)
        world.tick(1999, feeds_silent=True)
        assert halts(world) == []
        world.tick(1, feeds_silent=True)
        assert halts(world) == ["stale_feeds"]

    def test_a_word_in_between_begins_anew(self, world) -> None:
        world.tick(feeds_silent=True)
        world.tick(1500)
        world.tick(1500, feeds_silent=True)
        assert halts(world) == []

    def test_it_does_not_resume_by_itself(self, world) -> None:
        world.tick(feeds_silent=True)
        world.tick(3000, feeds_silent=True)
        world.tick(3000)
        assert world.submit(world.entry()).reason is Refusal.HALTED
        world.tell(Resume(""))
        assert isinstance(world.submit(world.entry()), Approved)

    def test_resumed_too_early_it_halts_again(self, world) -> None:
        world.tick(feeds_silent=True)
        world.tick(3000, feeds_silent=True)
        world.tell(Resume(""))
        world.tick(1, feeds_silent=True)
        world.tick(1000, feeds_silent=True)
        assert len(halts(world)) == 1
        world.tick(1000, feeds_silent=True)
        assert len(halts(world)) == 2


def test_one_halt_is_enough() -> None:
    world = w.World(config=w.with_limits(halt_daily_loss=Decimal(1000), halt_drawdown=Decimal(1000)))
    world.tell(Halt("lunch", flatten=False))
    world.core.commit()
    world.tick(feeds_silent=True)
    world.tick(60_000, feeds_silent=True)
    assert halts(world) == ["operator"]
