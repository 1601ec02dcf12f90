"""The two-leg machine in random worlds: it always ends with no open leg, and carries on after any crash."""

from decimal import Decimal
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from arbshard.execution.two_leg import Ask, Pause, SendOrders, TwoLegEnd, Withhold
from arbshard.model.order import FINAL_STATES, OrderResult
from support.effort import effort


def leg_of(make, order):
    return make.home if order.market.venue == "upbit" else make.away


class World:
    """Venues that fill, refuse, fall silent and move; after ``kind_after`` steps they fill everything.

    An order below a venue's minimum is refused always, and an order that is silent has ended somehow: it says how
    only when asked often enough.
    """

    def __init__(self, make, seed, kind_after):
        self.make = make
        self.random = Random(seed)
        self.kind_after = kind_after
        self.step = 0
        self.truth = {}
        self.mid = 105_000.0
        self.gap = 0.0
        self.now_ns = 1_000_000_000

    @property
    def is_kind(self):
        return self.step >= self.kind_after

    def books(self):
        self.step += 1
        self.mid = round(self.mid * (1 + self.random.gauss(0, 0.001)), 2)
        self.gap += self.random.gauss(0, 20)
        home = self.make.home_book(self.gap + (self.mid / 105_000 - 1) * 1e4)
        away = self.make.away_book(self.mid)
        if not self.is_kind and self.random.random() < 0.2:
            return (None, away) if self.random.random() < 0.5 else (home, None)
        return home, away

    def end_of(self, order):
        leg = leg_of(self.make, order)
        if not leg.rules.accepts(order.limit, order.quantity):
            return self.make.result(order, "REJECTED")
        luck = 1.0 if self.is_kind else self.random.random()
        if luck < 0.15:
            return self.make.result(order, "REJECTED")
        if luck < 0.35:
            return self.make.result(order, self.random.choice(["EXPIRED", "CANCELED"]))
        if luck < 0.6:
            share = Decimal(self.random.randrange(1, 100)) / 100
            quantity = leg.rules.round_quantity(order.quantity * share)
            return self.make.result(order, "EXPIRED", quantity)
        return self.make.result(order, "FILLED", order.quantity)

    def send(self, order):
        assert order.client_id not in self.truth, "sent twice"
        self.truth[order.client_id] = self.end_of(order)
        return self.ask(order)

    def ask(self, order):
        if not self.is_kind and self.random.random() < 0.3:
            return OrderResult(order, "UNKNOWN")
        return self.truth[order.client_id]


def run(machine, world, check):
    """Drive ``machine`` to its end; ``check`` sees every step before it is carried out. Returns its end.

    A person who is asked has the pair closed after a while, again and again.
    """
    stuck = 0
    for _ in range(world.kind_after + 200):
        books = world.books()
        step = machine.next_step(*books, world.now_ns)
        check(step, books)
        match step:
            case SendOrders(orders):
                for order in orders:
                    machine.record(world.send(order), world.now_ns)
            case Withhold(order, _):
                machine.record(OrderResult(order, "NOT_ACCEPTED"), world.now_ns)
            case Ask(orders):
                for order in orders:
                    machine.record(world.ask(order), world.now_ns)
            case TwoLegEnd():
                return step, books
            case Pause(wait_ns):
                world.now_ns += wait_ns
        stuck += machine.state == "stuck"
        if stuck > 3:
            machine.renew(world.now_ns)
    raise AssertionError("did not come to an end")


worlds = {
    "kind": st.sampled_from(["entry", "exit"]),
    "direction": st.sampled_from(["buy_home", "buy_away"]),
    "lead": st.sampled_from(["both", "both", "home", "away"]),
    "seed": st.integers(0, 2**32),
    "kind_after": st.integers(0, 40),
}


class TestWorlds:
    @settings(max_examples=effort(150, 1500))
    @given(**worlds)
    def test_always_ends_with_no_open_leg(self, make, begin, kind, direction, lead, seed, kind_after):
        machine, *_ = begin(kind, direction, lead=lead)
        world = World(make, seed, kind_after)
        before = [machine.imbalance]

        def check(step, _books):
            # What fills since the last step did to the imbalance: follow-ups never make it larger or turn it.
            if machine.follow_ups:
                assert abs(machine.imbalance) <= abs(before[0])
                assert machine.imbalance * before[0] >= 0
            before[0] = machine.imbalance
            pending = [result for result in machine.results if not result.is_final]
            if isinstance(step, SendOrders):
                assert not pending
                assert len(step.orders) == (1 if machine.results or lead != "both" else 2)

        end, (home, away) = run(machine, world, check)
        assert all(result.state in FINAL_STATES for result in machine.results)
        # Every fill of the world is known to the machine.
        sent = (result for result in machine.results if result.order.client_id in world.truth)
        known = {result.order.client_id: result.filled for result in sent}
        assert all(result.order.client_id in known or not result.fills for result in machine.results)
        assert known == {name: result.filled for name, result in world.truth.items()}
        left = machine.imbalance
        for leg, book in ((make.home, home), (make.away, away)):
            if book is None:  # then it was valued at the worst price that the loss budget allows
                continue
            price = Decimal(str(book.best_bid if left > 0 else book.best_ask))
            in_reach = price * (Decimal("0.9") if left > 0 else 1)  # the furthest a limit stands behind
            assert not leg.rules.accepts(in_reach, leg.rules.round_quantity(abs(left)))
        if kind == "entry" and not any(known.values()):
            assert end.closed

    @given(**worlds)
    def test_carries_on_from_any_point_as_if_nothing_had_happened(
        self, make, begin, kind, direction, lead, seed, kind_after
    ):
        """A successor that knows the same results asks about the same orders, ends at the same point, and never sends
        an order twice. Only pauses and the choice of the venue begin anew with it.
        """
        machine, *_ = begin(kind, direction, lead=lead)

        def check(step, books):
            successor, *_ = begin(kind, direction, lead=lead, known=machine.results, now_ns=world.now_ns)
            assert successor.imbalance == machine.imbalance
            taken = successor.next_step(*books, world.now_ns)
            if isinstance(step, Ask | TwoLegEnd | Withhold) or not machine.follow_ups:
                assert taken == step or isinstance(step, Pause | SendOrders)
            if isinstance(taken, SendOrders):
                known = {result.order.client_id for result in machine.results}
                assert not known & {order.client_id for order in taken.orders}

        world = World(make, seed, kind_after)
        run(machine, world, check)

    @given(**worlds)
    def test_crash_before_a_result_was_heard_of(self, make, begin, kind, direction, lead, seed, kind_after):
        """Risk knew the order before it went out: the successor asks about it and sends nothing else before."""
        machine, *_ = begin(kind, direction, lead=lead)

        def check(step, books):
            if isinstance(step, SendOrders):
                intended = [make.result(order, "INTENT") for order in step.orders]
                successor, *_ = begin(kind, direction, lead=lead, known=[*machine.results, *intended])
                assert successor.next_step(*books, world.now_ns) == Ask(step.orders)

        world = World(make, seed, kind_after)
        run(machine, world, check)
