"""However statements, fills and money from elsewhere come in: no false alarm, and none that is missed."""

from decimal import Decimal

from hypothesis import given, settings

from arbshard.ledger.replay import replay
from arbshard.ledger.verify import verify
from arbshard.risk.portfolio.state import PortfolioState
from support.effort import effort
from support.live_chaos import PRINTED, Chaos, seeds


@settings(max_examples=effort(150, 1500), deadline=None)
@given(seed=seeds)
def test_no_alarm_is_false_and_none_is_missed(seed) -> None:
    chaos = Chaos()
    chaos.run(seed)
    chaos.end()
    world = chaos.world
    found = {account: one.amount for account, one in world.state.reconciled.differences.items()}
    assert found.keys() == chaos.elsewhere_.keys()
    for account, amount in chaos.elsewhere_.items():
        assert abs(found[account] - amount) <= PRINTED, account
    for account, held in chaos.venues.held.items():
        booked = world.state.balance(*account).total
        assert abs(held - booked - chaos.elsewhere_.get(account, Decimal(0))) <= PRINTED, account
        assert world.state.balance(*account).held == 0
    again = PortfolioState()
    replay(enumerate(world.events, 1), again)
    assert again.state_hash() == world.state.state_hash()


@settings(max_examples=effort(10, 50), deadline=None)
@given(seed=seeds)
def test_the_ledger_of_it_verifies(seed, tmp_path_factory) -> None:
    chaos = Chaos()
    chaos.run(seed)
    chaos.end()
    chaos.world.stop()
    path = tmp_path_factory.mktemp("chaos") / "ledger.sqlite"
    chaos.world.write_ledger(path)
    assert verify(path).differences == ()
