"""Adds to ``--help`` what follows the options: the group of each command, examples, and exit codes."""

from collections.abc import Iterator
from typing import NamedTuple

import typer

from arbshard.config import VenuesConfig

HOME, AWAY = VenuesConfig().traded
"""The venues of the examples."""
RUN, SEE, ACT, MONEY, STUDY, OTHER = (
    "Run",
    "See what it does",
    "Act while it runs",
    "Books and money",
    "Record, replay and study",
    "Configuration",
)
"""Groups of commands, in the order of ``--help``."""
_USUAL = "0 done, 1 it could not be done, 2 something you must change"
_RUNNING = "0 done, 1 it could not be done in time, 2 something you must change, or no such instance runs"


class CommandHelp(NamedTuple):
    """Is what is added to the help of one command."""

    examples: tuple[str, ...]
    codes: str = _USUAL
    panel: str = ""
    """The group; empty for a command that is part of another one."""

    @property
    def epilog(self) -> str:
        """Return the text below the options."""
        lines = "\n".join(f"  arbshard {example}" for example in self.examples)
        return f"Examples:\n{lines}\nExit codes: {self.codes}."


COMMANDS: dict[str, CommandHelp] = {
    "run": CommandHelp(
        (
            "run --shards 4 --duration 60",
            "run --config paper --symbols BTC,ETH,SOL",
            "run --summary day.json",
            "run --service --config /etc/arbshard/desk.toml",
            "run --config desk.toml --cluster cluster.toml --host a",
        ),
        "0 a clean run, 1 not a clean one (the closing summary says why), 2 something you must change",
        RUN,
    ),
    "stop": CommandHelp(
        ("stop", "stop --name desk --keep-positions --wait 60", "stop --name desk --host-only"), _RUNNING, RUN
    ),
    "instances": CommandHelp(("instances", "instances --json"), panel=RUN),
    "doctor": CommandHelp(
        ("doctor --config live.toml", "doctor --config live.toml --json"),
        "0 fit for live orders, 1 something failed, 2 something you must change",
        RUN,
    ),
    "status": CommandHelp(
        ("status", "status --name desk --watch", "status --json | jq .problems"),
        "0 healthy, 1 degraded, 2 not running",
        SEE,
    ),
    "why": CommandHelp(("why BTC", "why KRW-ETH --name desk"), _RUNNING, SEE),
    "positions": CommandHelp(("positions", "positions --name desk --json"), panel=SEE),
    "trades": CommandHelp(("trades --last 50", "trades --symbol BTC --since 2026-11-01 --csv"), panel=SEE),
    "web": CommandHelp(
        ("web --name desk --name band", "web --port 0"),
        "0 done, 2 an address or a token cannot be used, or something else you must change",
        SEE,
    ),
    "logs": CommandHelp(
        ("logs", "logs --follow", "logs --process worker-1 --level warning --last 200"), panel=SEE
    ),
    "tap": CommandHelp(("tap", "tap --help"), _RUNNING, SEE),
    "cluster init": CommandHelp(
        (
            "cluster init --hosts a=10.0.0.1,b=10.0.0.2,c=10.0.0.3",
            "cluster init --hosts a=10.0.0.1,b=10.0.0.2,c=10.0.0.3 --nats nats://10.0.0.9:4222 --shards 8 --out desk",
        ),
        "0 done, 2 a file exists already, or something else you must change",
    ),
    "cluster show": CommandHelp(("cluster show", "cluster show --name desk --json"), _RUNNING),
    "alerts test": CommandHelp(
        ("alerts test", "alerts test --config desk.toml"),
        "0 all arrived, 1 one did not, 2 something you must change",
    ),
    "halt": CommandHelp(('halt --reason "look at it"', "halt --flatten --name desk"), _RUNNING, ACT),
    "resume": CommandHelp(("resume", "resume BTC ETH --reason checked"), _RUNNING, ACT),
    "close": CommandHelp(
        ("close BTC ETH", "close --all --wait 60", "close SOL --even-one-leg"), _RUNNING, ACT
    ),
    "limits show": CommandHelp(("limits show", "limits show --symbol BTC"), _RUNNING),
    "limits set": CommandHelp(
        (
            "limits set order_notional_max=500000",
            "limits set symbol_notional_max=1000000 --symbol BTC",
            "limits set order_notional_max=default",
        ),
        _RUNNING,
    ),
    "shards move": CommandHelp(("shards move SOL ETH --to 2",), _RUNNING),
    "shards balance": CommandHelp(("shards balance --dry-run", "shards balance"), _RUNNING),
    "shards restart": CommandHelp(("shards restart 2",), _RUNNING),
    "symbols add": CommandHelp(("symbols add SOL XRP",), _RUNNING),
    "symbols remove": CommandHelp(("symbols remove SOL --keep-positions",), _RUNNING),
    "symbols confirm": CommandHelp(('symbols confirm ABC --reason "both notices say so"',), _RUNNING),
    "balances": CommandHelp(("balances", "balances --json"), panel=MONEY),
    "inventory": CommandHelp(("inventory", "inventory --name desk --json"), panel=MONEY),
    "reconcile": CommandHelp(
        ("reconcile", f"reconcile --accept {HOME} KRW --as deposit"),
        "0 nothing is blocked, 1 something is blocked, 2 something you must change",
        MONEY,
    ),
    "transfer out": CommandHelp((f"transfer out {HOME} BTC 1.5 --to {AWAY}",), _RUNNING),
    "transfer in": CommandHelp(
        ("transfer in t3", f"transfer in {HOME} KRW 1000000 --from outside"), _RUNNING
    ),
    "transfer cancel": CommandHelp(("transfer cancel t3",), _RUNNING),
    "transfer lost": CommandHelp(("transfer lost t3",), _RUNNING),
    "transfer list": CommandHelp(("transfer list",), _RUNNING),
    "ledger verify": CommandHelp(
        ("ledger verify", "ledger verify --name desk"),
        "0 everything agrees, 1 something differs, 2 something you must change",
    ),
    "ledger show": CommandHelp(("ledger show",)),
    "ledger info": CommandHelp(("ledger info", "ledger info --name desk")),
    "ledger export": CommandHelp(
        (
            "ledger export --what positions --out positions.csv",
            "ledger export --what fills --since 2026-11-01",
        ),
        "0 done, 1 the ledger is damaged or cannot be read, 2 something you must change",
    ),
    "ledger backup": CommandHelp(
        (
            "ledger backup /backup/desk-2026-11-28.sqlite",
            "ledger backup --name desk --into /var/backups/desk --keep 14",
        ),
        "0 done, 1 the ledger is damaged or cannot be read, 2 something you must change",
    ),
    "ledger archive": CommandHelp(("ledger archive",)),
    "ledger prove": CommandHelp(
        ("ledger prove",), "0 the chain is whole, 1 a link is broken, 2 something you must change"
    ),
    "record": CommandHelp(("record", "record --symbols BTC,ETH --duration 3600"), panel=STUDY),
    "exchanges": CommandHelp(("exchanges", "exchanges --regime band"), panel=STUDY),
    "replay": CommandHelp(("replay TAPE", "replay TAPE --help"), panel=STUDY),
    "backtest": CommandHelp(
        ("backtest TAPE", "backtest TAPE --set strategy.entry_bps=25 --out result"), panel=STUDY
    ),
    "sweep": CommandHelp(
        ("sweep TAPE --grid entry_bps=20:40:5 --grid max_hold_s=10,20,30 --out found",), panel=STUDY
    ),
    "simulate": CommandHelp(
        ("simulate --seed 3 --hours 1", "simulate --seeds 10"),
        "0 all invariants held, 1 one was violated, 2 something you must change, 130 stopped by Ctrl-C",
        STUDY,
    ),
    "campaign": CommandHelp(
        ("campaign S0", "campaign mine.toml --virtual"), "0 passed, 1 failed, 2 could not run", STUDY
    ),
    "analyze": CommandHelp(("analyze", "analyze desk --out report"), panel=STUDY),
    "tape ls": CommandHelp(("tape ls",)),
    "tape info": CommandHelp(("tape info",)),
    "tape verify": CommandHelp(
        ("tape verify",), "0 the tape is whole, 1 it is not, 2 something you must change"
    ),
    "tape sql": CommandHelp(('tape sql "SELECT venue, kind, count(*) FROM tape GROUP BY ALL"',)),
    "tape compact": CommandHelp(("tape compact --out parquet",)),
    "tape export": CommandHelp(("tape export --help",)),
    "tape catalog": CommandHelp(("tape catalog --help",)),
    "tape import": CommandHelp(("tape import --help",)),
    "config check": CommandHelp(
        ("config check desk.toml", "config check paper-band"), "0 accepted, 2 refused, with the reason"
    ),
    "config show": CommandHelp(("config show desk.toml --origin", "config show paper-band --json")),
    "config schema": CommandHelp(("config schema > arbshard.schema.json",)),
    "version": CommandHelp(("version",), "0", OTHER),
}
"""Additions to the help, by the path of the command."""

GROUPS: dict[str, CommandHelp] = {
    "alerts": CommandHelp(
        ("alerts --name desk", "alerts --all --json"),
        "0 no alert holds, 1 one does, 2 none are kept",
        SEE,
    ),
    "cluster": CommandHelp(("cluster show",), _RUNNING, SEE),
    "config": CommandHelp(("config check desk.toml",), panel=OTHER),
    "limits": CommandHelp(("limits show",), _RUNNING, ACT),
    "shards": CommandHelp(("shards", "shards --pairs", "shards --json"), _RUNNING, ACT),
    "symbols": CommandHelp(("symbols", "symbols --json"), _RUNNING, ACT),
    "transfer": CommandHelp(("transfer list",), _RUNNING, MONEY),
    "ledger": CommandHelp(("ledger info",), panel=MONEY),
    "tape": CommandHelp(("tape ls",), panel=STUDY),
}
"""Commands that consist of others, by path."""


def commands_of(app: typer.Typer, above: str = "") -> Iterator[tuple[str, typer.models.CommandInfo]]:
    """Yield the path and the description of each command of ``app``, and of those below its groups."""
    for info in app.registered_commands:
        assert info.callback is not None
        yield above + (info.name or info.callback.__name__.replace("_", "-")), info
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from commands_of(group.typer_instance, f"{above}{group.name} ")


def add_help(app: typer.Typer) -> None:
    """Add groups, examples and exit codes to every command of ``app``."""
    for path, info in commands_of(app):
        found = COMMANDS.get(path)
        if found is not None:
            info.epilog = found.epilog
            info.rich_help_panel = found.panel or "Commands"
    for group in app.registered_groups:
        found = GROUPS.get(group.name or "")
        if found is not None:
            group.epilog = found.epilog
            group.rich_help_panel = found.panel
    order = {panel: number for number, panel in enumerate((RUN, SEE, ACT, MONEY, STUDY, OTHER))}
    app.registered_commands.sort(key=lambda info: order.get(str(info.rich_help_panel), len(order)))
