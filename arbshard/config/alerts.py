"""The section ``[alerts]``: what a person is alerted of, and where that is sent."""

from typing import Annotated, Literal

from msgspec import Meta, field

from arbshard.config.section import Count, NotNegative, Positive, Section, matching

AlertLevel = Literal["off", "silent", "on"]
"""``on``: it is sent when it begins, while it lasts, and when it is over. ``silent``: it is kept and listed, and no
message is sent. ``off``: it is not raised."""

SecretSource = Annotated[
    str,
    matching(
        r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)?\Z",
        "must say where the secret is, as 'env:VARIABLE' or 'file:/path'; the secret itself does not belong here",
    ),
]
TargetName = Annotated[
    str,
    matching(
        r"^[a-z0-9][a-z0-9_-]{0,31}\Z",
        "must be 1 to 32 characters of a-z, 0-9, '_' and '-', the first one a letter or a digit",
    ),
]


class AlertLevels(Section, frozen=True):
    """A level for each kind of alert; ``docs/alerts.md`` says what each kind means for the money."""

    halt: AlertLevel = "on"
    """Entries are halted."""
    stuck_pair: AlertLevel = "on"
    """A pair is set apart, cannot be left, or has a position that no worker closes."""
    naked: AlertLevel = "on"
    """Something is bought or sold on one venue alone for longer than ``naked_after_s``."""
    unknown_order: AlertLevel = "on"
    """The fate of an order is not known, or no intent owns it."""
    difference: AlertLevel = "on"
    """A venue and the ledger state different amounts."""
    ledger: AlertLevel = "on"
    """The books of the ledger do not balance."""
    refusing: AlertLevel = "on"
    """A venue or a market takes no orders."""
    feed: AlertLevel = "on"
    """Books of a venue do not come, or come late."""
    restarts: AlertLevel = "on"
    """A process is restarted again and again, does not run, or was given up."""
    disk: AlertLevel = "on"
    """The disk of the ledger is nearly full."""
    limit: AlertLevel = "on"
    """``limit_share`` of a limit is used."""
    degraded: AlertLevel = "on"
    """The run is degraded for another reason for longer than half a minute."""
    vanished: AlertLevel = "on"
    """The supervisor has died, or is silent."""
    cluster: AlertLevel = "on"
    """A cluster has no leader, no host holds a shard, a host is away, or a halt waits for the leader."""
    event: AlertLevel = "on"
    """Any other alert of the supervisor, such as the end of a process."""
    digest_day: AlertLevel = "on"
    """The result of each trading day."""
    digest_session: AlertLevel = "on"
    """The result of a run at its end."""


class TelegramConfig(Section, frozen=True):
    """Commands from Telegram. They show and halt; nothing else is possible from there."""

    token: SecretSource = ""
    """Where the bot's token is; empty: no commands are taken."""
    chats: tuple[int, ...] = ()
    """The chats whose commands are taken. Others get no answer."""
    api: Annotated[
        str, matching(r"^https?://[^\s/?#]+\Z", "must be an address such as 'https://api.telegram.org'")
    ] = "https://api.telegram.org"
    confirm_s: Annotated[float, Meta(ge=5, le=600)] = 60.0
    """A halt that is not confirmed within so long is forgotten."""


class AlertsConfig(Section, frozen=True):
    """Alerts are kept beside the ledger. Sending them needs apprise, and commands python-telegram-bot."""

    enabled: bool = True
    targets: dict[TargetName, SecretSource] = field(default_factory=dict)
    """Where the address of each target is, by a name of your choice. Messages go to the first; each other one gets
    what the target before it has failed to deliver."""
    fail_over_after: Annotated[int, Meta(ge=1, le=1000)] = 3
    """A target that failed so many times in a row is helped out by the next one."""
    messages_per_min: Annotated[int, Meta(ge=1, le=600)] = 20
    """To each target. What is due beyond that is sent as one message."""
    repeat_s: Annotated[float, Meta(ge=1, le=86_400)] = 900.0
    """An alert that lasts is sent again after so long, and again after twice as long, and so on."""
    repeat_max_s: Annotated[float, Meta(ge=1, le=604_800)] = 21_600.0
    naked_after_s: NotNegative = 30.0
    limit_share: Annotated[float, Meta(gt=0, le=1)] = 0.8
    restarts: Count = 3
    """So many restarts of one process within ``restarts_window_s`` are an alert."""
    restarts_window_s: Positive = 600.0
    heartbeat: SecretSource = ""
    """Where the address is that is fetched while the run is well enough to do so; empty: none."""
    heartbeat_s: Annotated[float, Meta(ge=1, le=86_400)] = 60.0
    keep_days: Annotated[float, Meta(gt=0, le=10_000)] = 90.0
    """Alerts that ended longer ago are removed."""
    keep_rows: Annotated[int, Meta(ge=100, le=10_000_000)] = 20_000
    """The oldest are removed when there are more."""
    levels: AlertLevels = AlertLevels()
    telegram: TelegramConfig = TelegramConfig()
