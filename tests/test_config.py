"""The configuration: an empty file is a valid one, and every error says where it is and what would be right."""

from decimal import Decimal

import msgspec
import pytest

from arbshard.config import Config, VenueConfig, VenuesConfig, decode_recorded, find_remarks, load_config
from arbshard.config.contradictions import ENTRY_LIMITS
from arbshard.errors import ConfigError, UsageError


@pytest.fixture
def load(tmp_path):
    def write_and_load(text, overrides=None):
        path = tmp_path / "my.toml"
        path.write_text(text)
        return load_config(path, overrides)

    return write_and_load


@pytest.fixture
def problem(load, tmp_path):
    """What is said about a file, without its name (which must be there)."""

    def ask(text):
        with pytest.raises(ConfigError) as caught:
            load(text)
        where = f"{tmp_path / 'my.toml'}: "
        assert str(caught.value).startswith(where)
        assert caught.value.where + ": " == where
        return str(caught.value).removeprefix(where)

    return ask


class TestValid:
    def test_defaults(self, load):
        assert load_config(None) == load("") == Config()

    def test_defaults_can_be_traded_on(self):
        """Entry above what an exit costs, a smallest order above every venue's minimum."""
        config = load_config(None)
        assert config.strategy.entry_bps >= 22 + config.strategy.take_profit_bps
        assert config.sizing.entry_notional_min > 10_000
        assert config.limits.symbol_notional_max >= config.sizing.entry_notional_max
        assert config.venues.binance.depth == 20

    def test_file_lies_over_the_defaults(self, load):
        config = load('[run]\nshards = 2\nsymbols = ["BTC", "KRW-ETH"]\n[venues.upbit]\nbuy_fee_bps = 2.5\n')
        assert config.run.shards == 2
        assert config.run.symbols == ("BTC", "KRW-ETH")
        assert config.run.max_pairs == Config().run.max_pairs
        assert config.venues.upbit.buy_fee_bps == Decimal("2.5")
        assert config.venues.upbit.sell_fee_bps == Decimal(5)
        assert config.venues.binance == Config().venues.binance

    def test_overrides_lie_over_the_file(self, load):
        config = load("[run]\nshards = 2\nmax_pairs = 9\n", {"run": {"shards": 3}, "name": "other"})
        assert (config.run.shards, config.run.max_pairs, config.name) == (3, 9, "other")

    def test_amounts_are_exact(self, load):
        config = load("[paper]\nquote_away = 0.1\nquote_home = 123456789012.12\n")
        assert config.paper.quote_away == Decimal("0.1")
        assert config.paper.quote_home == Decimal("123456789012.12")

    def test_venue_by_name(self):
        venues = Config().venues
        assert venues.get("upbit") is venues.upbit
        assert venues.get("binance") is venues.binance
        with pytest.raises(KeyError):
            venues.get("kraken")

    def test_goes_to_the_children_and_back(self):
        """As the supervisor writes it and workers read it."""
        config = load_config(
            None,
            {
                "paper": {"quote_away": "0.00000001", "seed": 2**63 - 1},
                "venues": {"upbit": {"buy_fee_bps": "1.39"}},
            },
        )
        assert msgspec.json.decode(msgspec.json.encode(config), type=Config, strict=False) == config

    def test_public_data_with_addresses(self, load):
        addresses = 'ws_url = "wss://a"\nrest_url = "https://a"\n'
        config = load(f'data = "public"\n[venues.upbit]\n{addresses}[venues.binance]\n{addresses}')
        assert config.data == "public"


class TestUnknownKeys:
    @pytest.mark.parametrize(
        ("text", "key", "known"),
        [
            ("speed = 1", "'speed'", "known here: name, mode"),
            ("[run]\nshard = 1", "'run.shard'", "shards, symbols"),
            ("[venues.upbit]\nfee = 1", "'venues.upbit.fee'", "buy_fee_bps"),
            ("[venues.kraken]\ndepth = 1", "'venues.kraken'", "upbit, binance"),
        ],
    )
    def test_are_named_with_those_that_exist(self, problem, text, key, known):
        said = problem(text)
        assert said.startswith(f"unknown key {key}; ")
        assert known in said


class TestWrongValues:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ('[run]\nshards = "many"', "run.shards: must be a whole number, not text"),
            ("[run]\nshards = 0", "run.shards: must be a whole number of at least 1"),
            ("[run]\nshards = 65", "run.shards: must be a whole number of at most 64"),
            ("[run]\nshards = 2.5", "run.shards: must be a whole number, not a fraction"),
            ("run = 5", "run: must be a table, not a whole number"),
            ("[run]\nsymbols = [1]", "run.symbols[0]: must be text, not a whole number"),
            ("[strategy]\nmax_hold_s = 0", "strategy.max_hold_s: must be a number above 0"),
            ("[venues.binance]\ndepth = 31", "venues.binance.depth: must be a whole number of at most 30"),
            ("[paper]\nlatency_sigma = 800", "paper.latency_sigma: must be a number of at most 5"),
            (
                "[sim]\nseed = 99999999999999999999",
                "sim.seed: must be a whole number of at most 9223372036854775807",
            ),
        ],
    )
    def test_path_and_what_would_be_right(self, problem, text, said):
        assert problem(text) == said

    @pytest.mark.parametrize(
        ("text", "path", "choices"),
        [
            ('[run]\ntransport = "pigeon"', "run.transport: ", ("local", "zmq")),
            ('mode = "real"', "mode: ", ("paper", "live")),
            ('[sim]\nregime = "wild"', "sim.regime: ", ("calm", "crash")),
        ],
    )
    def test_choices_are_named(self, problem, text, path, choices):
        said = problem(text)
        assert said.startswith(path)
        assert all(choice in said for choice in choices)

    @pytest.mark.parametrize(("key", "value"), [("doorbell", "pipe"), ("requests", "zmq")])
    def test_a_key_of_an_earlier_version_names_its_successor(self, problem, key, value):
        said = problem(f'[run]\n{key} = "{value}"')
        assert said == f'the key \'run.{key}\' was replaced: write run.transport = "local" or "zmq"'

    @pytest.mark.parametrize("value", ["nan", "inf", "-inf", '"nan"', '"inf"', '"-Infinity"'])
    @pytest.mark.parametrize(
        "key",
        [
            "strategy.entry_bps", "strategy.stop_loss_bps", "data_quality.max_book_age_ms", "paper.reject_share",
            "sizing.entry_notional_max", "limits.daily_loss_max", "paper.quote_home", "venues.upbit.buy_fee_bps",
        ],
    )  # fmt: skip
    def test_not_a_number_is_not_a_value(self, problem, key, value):
        table, _, name = key.rpartition(".")
        assert problem(f"[{table}]\n{name} = {value}").startswith(f"{key}: ")

    @pytest.mark.parametrize("name", ["", "A", "a b", "../x", "-x", "x" * 33, "a\\n"])
    def test_name_becomes_a_directory(self, problem, name):
        assert problem(f'name = "{name}"') == (
            "name: must be 1 to 32 characters of a-z, 0-9, '_' and '-', the first one a letter or a digit"
        )


class TestAmounts:
    @pytest.mark.parametrize("key", ["sizing.entry_notional_max", "limits.portfolio_notional_max"])
    def test_limits_are_above_zero(self, problem, key):
        table, _, name = key.rpartition(".")
        assert problem(f"[{table}]\n{name} = 0") == f"{key}: must be above 0"

    @pytest.mark.parametrize(
        "key", ["paper.quote_home", "venues.binance.sell_fee_bps", "limits.daily_loss_max"]
    )
    def test_never_negative(self, problem, key):
        table, _, name = key.rpartition(".")
        assert problem(f"[{table}]\n{name} = -1").startswith(f"{key}: must be a number that is not negative")

    @pytest.mark.parametrize(
        ("key", "value", "most"),
        [
            ("venues.upbit.buy_fee_bps", "10000", "10000"),
            ("venues.binance.buy_fee_bps", "12000", "10000"),
            ("paper.quote_home", '"1e999999"', "1000000000000000"),
        ],
    )
    def test_within_reason(self, problem, key, value, most):
        """A fee of 100 % would divide by nothing left."""
        table, _, name = key.rpartition(".")
        assert problem(f"[{table}]\n{name} = {value}") == f"{key}: must be below {most}"

    def test_nothing_may_be_free(self, load):
        config = load("[venues.upbit]\nbuy_fee_bps = 0\n[paper]\nquote_home = 0\n")
        assert config.venues.upbit.buy_fee_bps == config.paper.quote_home == 0


class TestAcrossKeys:
    def test_order_sizes(self, problem):
        said = problem("[sizing]\nentry_notional_min = 2000000")
        assert said == "sizing: entry_notional_min is above entry_notional_max"

    @pytest.mark.parametrize("key", ["order_notional_max", "order_notional_min"])
    def test_the_former_names_of_sizes_are_answered_with_the_new_ones(self, problem, key):
        new = key.replace("order", "entry")
        said = problem(f"[sizing]\n{key} = 500000")
        assert said == f"the key 'sizing.{key}' was replaced: write sizing.{new}"

    def test_edges(self, problem):
        assert problem("[strategy]\nmin_edge_bps = 31") == "strategy: min_edge_bps is above entry_bps"
        said = problem("[strategy]\nmin_edge_bps = -1")
        assert said == (
            "limits: edge_bps_min is above strategy.min_edge_bps, so risk would refuse what the strategy enters"
        )

    @pytest.mark.parametrize(
        "text", ["order_timeout_s = 10", "recv_window_ms = 10000", "not_found_after_s = 5"]
    )
    def test_an_order_is_not_given_up_while_it_may_arrive(self, problem, text):
        said = problem(f"[live]\n{text}")
        assert said.startswith("live: not_found_after_s must be above order_timeout_s and recv_window_ms")

    @pytest.mark.parametrize("venue", ["upbit", "binance"])
    def test_public_data_needs_addresses(self, problem, venue):
        other = "binance" if venue == "upbit" else "upbit"
        said = problem(f'data = "public"\n[venues.{other}]\nws_url = "wss://a"\nrest_url = "https://a"\n')
        assert said == f'venues.{venue}: data = "public" needs ws_url and rest_url'


class TestNothingCouldBeTraded:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (f"[limits]\n{key} = 20000", f"limits.{key}: 20,000 has no room for the smallest entry, ")
            for key in ENTRY_LIMITS
        ]
        + [
            (
                "[limits]\nconcentration_floor = 19999",
                "limits.concentration_floor: 19,999 is below the smallest",
            ),
            (
                "[strategy]\nentry_bps = 600",
                "strategy.entry_bps: 600 is above strategy.max_edge_bps = 500, so",
            ),
            (
                "[limits]\nedge_bps_max = 599\n[strategy]\nentry_bps = 600\nmax_edge_bps = 700",
                "strategy.entry_bps: 600 is above limits.edge_bps_max = 599, so",
            ),
            (
                "[strategy]\nround_trip_bps = 501",
                "strategy.round_trip_bps: 501 is above strategy.max_edge_bps",
            ),
            (
                "[strategy]\nstop_loss_bps = 43",
                "strategy.stop_room_bps: 40 is never left of stop_loss_bps = 43",
            ),
            ("[series]\nwindow = 59", "baseline.samples_min: 60 is above series.window = 59"),
            (
                "[baseline]\nreturns_min = 451",
                "baseline.returns_min: 451 returns do not fit into series.window",
            ),
            (
                "[strategy]\nmax_hold_s = 3.9",
                "baseline.half_life_share_max: with strategy.max_hold_s = 3.9 a gap",
            ),
            ("[paper]\nreject_share = 1", "paper.reject_share: 1 refuses every order"),
        ],
    )
    def test_is_refused_with_the_reason(self, problem, text, said):
        assert problem(text).startswith(said)

    @pytest.mark.parametrize(
        "text",
        [
            "[limits]\norder_notional_max = 20300",
            "[limits]\nconcentration_floor = 19999\nconcentration_max = 1.0",
            "[limits]\nconcentration_floor = 20000",
            "[strategy]\nentry_bps = 500",
            "[strategy]\nstop_loss_bps = 44",
            "[series]\nwindow = 60\n[baseline]\nreturns_min = 30",
            "[series]\nwindow = 59\n[baseline]\nis_required = false",
            "[strategy]\nmax_hold_s = 4",
            'mode = "live"\n[paper]\nreject_share = 1',
            "[paper]\nreject_share = 0.999",
        ],
    )
    def test_what_may_trade_is_not_refused(self, load, text):
        load(text)

    def test_a_size_above_its_limit_is_remarked_upon(self, load):
        config = load("[sizing]\nentry_notional_max = 5000000")
        (remark,) = find_remarks(config)
        assert remark == (
            "sizing.entry_notional_max (5,000,000) is above limits.order_notional_max (3,000,000): "
            "entries are sized down to the limit"
        )
        assert find_remarks(Config()) == []

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("inventory_notional = 19999", "paper.inventory_notional (19,999) is below the smallest entry, "),
            ("quote_home = 0", "paper.quote_home is 0: a new ledger has no money on that venue"),
            ("quote_away = 0", "paper.quote_away is 0: a new ledger has no money on that venue"),
        ],
    )
    def test_paper_that_begins_with_too_little_is_remarked_upon(self, load, text, said):
        (remark,) = find_remarks(load(f"[paper]\n{text}"))
        assert remark.startswith(said)
        assert find_remarks(load(f'mode = "live"\n[paper]\n{text}')) == []

    def test_an_address_that_is_not_used_is_remarked_upon(self, load):
        (remark,) = find_remarks(load('[venues.upbit]\nws_url = "ws://x"'))
        assert remark.startswith("venues.upbit: ws_url and rest_url are not used")


class TestRecorded:
    def test_sizes_of_earlier_versions_are_read(self):
        tree = msgspec.to_builtins(Config(name="old"))
        sizing = tree["sizing"] = {"order_notional_max": "700000", "order_notional_min": "30000"}
        config = decode_recorded(msgspec.json.encode(tree))
        assert (config.name, config.sizing.entry_notional_max) == (
            "old",
            Decimal(sizing["order_notional_max"]),
        )
        assert config.sizing.entry_notional_min == Decimal(30_000)

    def test_todays_are_read_as_they_are(self):
        assert decode_recorded(msgspec.json.encode(Config())) == Config()


class TestFile:
    def test_not_toml(self, problem):
        assert problem("x = = 1").startswith("is not valid TOML: ")

    def test_not_text(self, tmp_path):
        path = tmp_path / "my.toml"
        path.write_bytes(b"\xff\xfe")
        with pytest.raises(ConfigError, match="is not valid TOML"):
            load_config(path)

    def test_missing(self, tmp_path):
        with pytest.raises(ConfigError) as caught:
            load_config(tmp_path / "none.toml")
        assert str(caught.value) == f"{tmp_path / 'none.toml'}: cannot be read: No such file or directory"

    def test_directory(self, tmp_path):
        with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
            load_config(tmp_path)

    def test_overrides_without_a_file(self):
        with pytest.raises(ConfigError) as caught:
            load_config(None, {"run": {"shards": 0}})
        assert str(caught.value) == "configuration: run.shards: must be a whole number of at least 1"

    def test_is_for_the_person_to_change(self):
        assert issubclass(ConfigError, UsageError)


class TestVenuesOfCcxt:
    SECTION = '[venues.binanceus]\nadapter = "ccxt"\nbuy_fee_bps = 1\nsell_fee_bps = "2.5"\n'

    @pytest.fixture
    def load(self, tmp_path):
        def build(text):
            path = tmp_path / "my.toml"
            path.write_text(text)
            return load_config(path)

        return build

    def test_a_section_is_found_by_its_name_and_may_be_away(self, load):
        home = '[venues.upbit]\nws_url = "wss://a"\nrest_url = "https://a"\n'
        venues = load(f'data = "public"\n[venues]\naway = "binanceus"\n{home}{self.SECTION}').venues
        assert venues.traded == ("upbit", "binanceus")
        assert (venues.get("binanceus").adapter, venues.get("binanceus").sell_fee_bps) == (
            "ccxt",
            Decimal("2.5"),
        )
        again = msgspec.json.decode(msgspec.json.encode(venues), type=type(venues), strict=False)
        assert again == venues, "children read it as JSON"

    def test_without_one_the_known_pair_is_traded(self, load):
        assert load("").venues.traded == ("upbit", "binance")

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            (f'[venues]\naway = "kraken"\n{SECTION}', "venues.away: 'kraken' is not one of binance, binanceus"),
            (f'[venues]\naway = "binanceus"\n{SECTION}', "venues.away: the embedded exchanges are"),
            (f"{SECTION}depht = 1\n", "unknown key 'venues.binanceus.depht'; known here: "),
            (f'{SECTION}depth = "x"\n', "venues.binanceus.depth: must be a whole number, not text"),
            ('[venues.kraken]\nadapter = "ccxt"\n', "venues.kraken: the key 'buy_fee_bps' is missing"),
            (SECTION.replace("2.5", "-2.5"), "venues.binanceus.sell_fee_bps: must be a number that is not negative"),
            ('[venues.binance]\nadapter = "ccxt"\n', 'venues.binance.adapter: must be "folder"'),
            (SECTION.replace("venues.", "venues.others.").replace("ccxt", "folder"), 'adapter: must be "ccxt"'),
        ],
    )  # fmt: skip
    def test_what_cannot_work_is_one_clear_line(self, load, text, why):
        with pytest.raises(ConfigError) as caught:
            load(text)
        assert why in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("live", "said"),
    [
        (
            "balance_tolerance = 1",
            "the key 'live.balance_tolerance' was replaced: write live.balance_tolerances by",
        ),
        ("balance_tolerances = { krw = 1 }", "live.balance_tolerances: write the currency 'krw' as KRW"),
        (
            "balance_tolerances = { KRW = -1 }",
            "live.balance_tolerances.KRW: must be a number that is not negative",
        ),
        (
            "balance_tolerance_worth = -1",
            "live.balance_tolerance_worth: must be a number that is not negative",
        ),
        (
            "statement_age_max_s = 15",
            "live: statement_age_max_s must be more than three times reconcile_every_s",
        ),
    ],
)
def test_tolerances_and_ages_of_statements(tmp_path, live, said):
    path = tmp_path / "arbshard.toml"
    path.write_text(f"[live]\n{live}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tolerance_for_each_currency(tmp_path):
    path = tmp_path / "arbshard.toml"
    path.write_text('[live]\nbalance_tolerances = { KRW = 1, BTC = "0.0000001" }\n', encoding="utf-8")
    asked = load_config(path).live.balance_tolerances
    assert asked == {"KRW": Decimal(1), "BTC": Decimal("0.0000001")}


@pytest.mark.parametrize("slash", ["", "/", "//"])
def test_a_slash_at_the_end_of_an_address_makes_no_other_address(slash):
    venue = VenueConfig(
        rest_url=f"https://api.example{slash}", ws_url=f"wss://ws.example/v1{slash}",
        private_ws_url=f"wss://ws.example/v1/private{slash}", buy_fee_bps=Decimal(5), sell_fee_bps=Decimal(5),
    )  # fmt: skip
    assert (venue.rest_url, venue.ws_url) == ("https://api.example", "wss://ws.example/v1")
    assert venue.private_ws_url == "wss://ws.example/v1/private"
    moved = VenuesConfig().at({"upbit": (f"ws://here{slash}", f"http://here{slash}")})
    assert (moved.upbit.ws_url, moved.upbit.rest_url) == ("ws://here", "http://here")
    assert msgspec.convert(msgspec.to_builtins(moved), VenuesConfig).upbit == moved.upbit


class TestEnvironment:
    """``ARBSHARD__SECTION__KEY`` lies over the file and below the command line."""

    @pytest.mark.parametrize(
        ("variable", "text", "key", "value"),
        [
            ("ARBSHARD__RUN__SHARDS", "8", "run.shards", 8),
            ("ARBSHARD__NAME", "desk", "name", "desk"),
            ("ARBSHARD__METRICS__ENABLED", "true", "metrics.enabled", True),
            ("ARBSHARD__STATE_DIR", "/var/lib/desk", "state_dir", "/var/lib/desk"),
            ("ARBSHARD__STATE_DIR", "8", "state_dir", "8"),
            ("ARBSHARD__RUN__STOP_TIMEOUT_S", "2.5", "run.stop_timeout_s", 2.5),
            ("ARBSHARD__RUN__SYMBOLS", '["BTC", "KRW-ETH"]', "run.symbols", ("BTC", "KRW-ETH")),
            ("ARBSHARD__PAPER__QUOTE_AWAY", "0.1", "paper.quote_away", Decimal("0.1")),
            ("ARBSHARD__LIVE__BALANCE_TOLERANCES__KRW", "1", "live.balance_tolerances", {"KRW": Decimal(1)}),
            (
                "ARBSHARD__LIVE__BALANCE_TOLERANCES",
                "{ KRW = 1 }",
                "live.balance_tolerances",
                {"KRW": Decimal(1)},
            ),
            ("ARBSHARD__RUN", "{ shards = 3 }", "run.shards", 3),
            ("ARBSHARD__VENUES__UPBIT__BUY_FEE_BPS", "2.5", "venues.upbit.buy_fee_bps", Decimal("2.5")),
        ],
    )
    def test_each_kind_of_value(self, variable, text, key, value):
        found = load_config(None, environ={variable: text, "HOME": "/", "ARBSHARD_UPBIT_KEY": "k"})
        for name in key.split("."):
            found = getattr(found, name)
        assert found == value

    def test_lies_over_the_file_and_below_the_command_line(self, tmp_path):
        path = tmp_path / "my.toml"
        path.write_text("[run]\nshards = 2\nmax_pairs = 9\nspare_workers = 3\n")
        environ = {"ARBSHARD__RUN__SHARDS": "5", "ARBSHARD__RUN__MAX_PAIRS": "7"}
        run = load_config(path, {"run": {"shards": 6}}, environ).run
        assert (run.shards, run.max_pairs, run.spare_workers) == (6, 7, 3)

    def test_section_of_a_venue_that_the_file_has(self, tmp_path):
        path = tmp_path / "my.toml"
        path.write_text('[venues.kraken]\nadapter = "ccxt"\nbuy_fee_bps = 20\nsell_fee_bps = 20\ndepth = 5\n')
        kraken = load_config(path, environ={"ARBSHARD__VENUES__KRAKEN__DEPTH": "7"}).venues.get("kraken")
        assert (kraken.adapter, kraken.depth) == ("ccxt", 7)

    @pytest.mark.parametrize(
        ("variable", "text", "said"),
        [
            ("ARBSHARD__RUN__SHARD", "8", "unknown key 'run.shard'; known here: shards"),
            ("ARBSHARD__SPEED", "8", "unknown key 'speed'; known here: name"),
            ("ARBSHARD__RUN__SHARDS", "many", "run.shards: must be a whole number, not text"),
            ("ARBSHARD__RUN__SHARDS", "0", "run.shards: must be a whole number of at least 1"),
            ("ARBSHARD__RUN__SYMBOLS", "[1]", "run.symbols[0]: must be text, not a whole number"),
            ("ARBSHARD__RUN__REQUESTS", "unix", "the key 'run.requests' was replaced"),
            ("ARBSHARD__RUN__SHARDS__MORE", "1", "run.shards: must be a whole number, not a table"),
            ("ARBSHARD____SHARDS", "1", "names no key"),
        ],
    )
    def test_what_is_wrong_names_the_variable(self, variable, text, said):
        with pytest.raises(ConfigError) as caught:
            load_config(None, environ={"ARBSHARD__NAME": "desk", variable: text})
        assert str(caught.value).startswith(f"{variable}: {said}")

    def test_what_is_wrong_in_the_file_is_not_blamed_on_a_variable(self, tmp_path):
        path = tmp_path / "my.toml"
        path.write_text("[run]\nshards = 0\n")
        with pytest.raises(ConfigError) as caught:
            load_config(path, environ={"ARBSHARD__NAME": "desk"})
        assert str(caught.value).startswith(f"{path}: run.shards")

    def test_keys_that_contradict_name_the_variables_too(self):
        with pytest.raises(ConfigError) as caught:
            load_config(None, environ={"ARBSHARD__SIZING__ENTRY_NOTIONAL_MIN": "1e12"})
        assert "with ARBSHARD__SIZING__ENTRY_NOTIONAL_MIN: sizing: " in str(caught.value)
