"""Whether a pair's markets trade the same coin: ratios, names, confirmations, and swaps while running."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from arbshard.config import SymbolsConfig
from arbshard.ledger.events import CoinConfirmed, PairSetApart
from arbshard.model.refusal import Refusal
from arbshard.model.warning import CoinName, WalletReport
from arbshard.risk.coin_identity import are_alike
from arbshard.status.standing import ADVICE_BY_CAUSE
from arbshard.wire.messages import Approved, ConfirmCoin, Denied, Done, Refused, Resume
from support import world as w

S = 1_000_000_000


@pytest.fixture
def world() -> w.World:
    return w.World()


def see(world, ratio, base="BTC", s=1):
    """The ratio for some seconds, sampled each second, with risk's ticks."""
    for _ in range(s):
        world.core.identity.set_ratio(base, ratio, world.now_ms * 1_000_000)
        world.tick(1000)


def answer(world, base="BTC"):
    reply = world.submit(world.entry(base))
    return None if isinstance(reply, Approved) else reply


def apart(world):
    return [(one.pair, one.cause) for one in world.events if isinstance(one, PairSetApart)]


@pytest.mark.parametrize("ratio", [0.78, 1.0, 1.05, 1.29])
def test_a_premium_is_no_reason_for_doubt(world, ratio) -> None:
    see(world, ratio, s=60)
    assert answer(world) is None
    assert apart(world) == []


@pytest.mark.parametrize("ratio", [1.31, 0.76, 1000.0, 0.001])
def test_a_new_pair_whose_prices_differ_by_a_factor_enters_nothing(world, ratio) -> None:
    see(world, ratio, s=60)
    refused = answer(world)
    assert isinstance(refused, Refused)
    assert refused.reason is Refusal.IDENTITY_DOUBTED
    assert (
        f"its price at home is {ratio:.4g} times that away, 0.769 to 1.3 times are allowed" in refused.detail
    )
    assert "arbshard symbols confirm BTC" in refused.detail
    assert answer(world, "ETH") is None
    assert apart(world) == []  # it was never right: a person decides before the first trade


def test_a_person_confirms_the_ratio_of_now_and_it_is_kept(world) -> None:
    see(world, 1.5)
    done = world.tell(ConfirmCoin("KRW-BTC", "one contract, see both notices"))
    assert isinstance(done, Done)
    assert done.text == (
        "upbit:KRW-BTC and binance:BTCUSDT trade the same coin, its price ratio of 1.5 is usual from now on"
    )
    (event,) = (one for one in world.events if isinstance(one, CoinConfirmed))
    assert (event.pair, event.ratio, event.reason) == (
        "BTC",
        Decimal("1.5"),
        "one contract, see both notices",
    )
    see(world, 1.52)
    assert answer(world) is None
    again = world.restart()
    see(again, 1.55)
    assert again.state.standing.confirmed["BTC"].ratio == Decimal("1.5")
    assert "BTC" not in again.core.identity._outside_ns
    see(again, 1.0)  # a step from what was confirmed
    refused = again.core.identity.objection(again.pairs["BTC"], "buy_home", None)
    assert refused.reason is Refusal.IDENTITY_DOUBTED


def test_only_pairs_of_the_run_can_be_confirmed(world) -> None:
    denied = world.tell(ConfirmCoin("XYZ", "sure"))
    assert denied == Denied("XYZ is not traded in this run")


def test_a_step_that_lasts_sets_the_pair_apart_for_a_person(world) -> None:
    position = world.open_position("BTC")
    see(world, 1.0, s=5)
    see(world, 1000.0, s=29)
    refused = answer(world, "BTC")
    assert refused.reason is Refusal.IDENTITY_DOUBTED  # at once
    assert apart(world) == []
    see(world, 1000.0, s=3)
    assert apart(world) == [("BTC", "identity")]
    refused = world.submit(world.exit_of(position))
    assert refused.reason is Refusal.PAIR_SET_APART  # a person decides at which prices it is closed
    assert isinstance(world.submit(world.exit_of(position, reason="manual")), Approved)
    assert "symbols confirm" in ADVICE_BY_CAUSE["identity"]


def test_a_blip_sets_nothing_apart(world) -> None:
    see(world, 1.0, s=5)
    for _ in range(3):
        see(world, 5.0, s=20)
        see(world, 1.0, s=1)
    assert apart(world) == []
    assert answer(world) is None


def test_what_was_traded_before_is_set_apart_even_if_the_swap_came_while_nothing_ran(world) -> None:
    world.round_trip("BTC")
    again = world.restart("run-2")
    see(again, 1000.0, s=31)
    assert apart(again) == [("BTC", "identity")]


def test_a_released_pair_that_was_confirmed_trades_again(world) -> None:
    see(world, 1.0)
    see(world, 10.0, s=31)
    done = world.tell(ConfirmCoin("BTC", "ten for one at home"))
    assert done.text.endswith("it stays set apart until 'arbshard resume BTC'")
    world.tell(Resume("looked into", ("BTC",)))
    world.tick(200)  # before the next sample
    assert world.state.standing.apart == {}
    see(world, 10.0, s=31)
    assert len(apart(world)) == 1
    assert answer(world) is None


def name(world, home, away, units=1):
    universe = world.core.ownership.universe
    names = (CoinName("upbit", "BTC", home),)
    new = universe.with_listing((), universe.fx, (), world.now_ms, (), names)
    world.events += world.core.set_universe(new, world.now_ms)
    world.core.commit()
    world.core.warnings.set_wallets(
        "binance", WalletReport(1, (), (CoinName("binance", "BTC", away, units),))
    )
    world.core.identity.set_names(world.core.warnings.coin_names())


def test_names_that_have_nothing_in_common_need_a_person_before_the_first_trade(world) -> None:
    name(world, "Tokamak Network", "Toncoin")
    refused = answer(world)
    assert refused.reason is Refusal.IDENTITY_DOUBTED
    assert "upbit calls it 'Tokamak Network', binance 'Toncoin'" in refused.detail
    world.tell(ConfirmCoin("BTC", "sure"))
    assert answer(world) is None


def test_names_are_no_reason_once_the_pair_was_traded(world) -> None:
    world.round_trip("BTC")
    name(world, "Tokamak Network", "Toncoin")
    assert answer(world) is None


def test_a_coin_that_a_venue_counts_by_the_thousand_enters_nothing(world) -> None:
    name(world, "Bitcoin", "Bitcoin", units=1000)
    assert "binance counts it by 1,000" in answer(world).detail


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("Bitcoin", "Bitcoin", True),
        ("Ethereum Classic", "Ethereum Classic", True),
        ("Ripple", "XRP", True),  # the other one is the ticker
        ("Avalanche", "AVAX", False),
        ("Bitcoin (simulated)", "Bitcoin", True),
        ("Render Token", "Render", True),
        ("Near Protocol", "NEAR", True),
        ("Polygon Ecosystem Token", "POL (ex-MATIC)", False),
        ("Stellar Lumens", "Stellar Lumens", True),
        ("Tokamak Network", "Toncoin", False),
        ("The Graph", "Graph", True),
        ("Beam", "Merit Circle", False),
        ("Basic Coin", "Other Coin", False),  # words that say nothing
        ("", "Bitcoin", True),
        ("!", "Bitcoin", True),
    ],
)
def test_names(one, other, alike) -> None:
    first, second = CoinName("upbit", "XRP", one), CoinName("binance", "XRP", other)
    assert are_alike(first, second) is alike
    assert are_alike(second, first) is alike


def test_the_band_is_settable() -> None:
    wide = w.World(config=replace(w.BOTH_WAYS, symbols=SymbolsConfig(price_ratio_max=3.0)))
    see(wide, 2.5, s=60)
    assert answer(wide) is None
