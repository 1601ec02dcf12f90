"""A status in which nothing is wrong, and changes of it."""

from typing import NamedTuple

import pytest
from msgspec.structs import replace

from arbshard.alerts.conditions import picture_of
from arbshard.config import AlertsConfig, LimitsConfig
from arbshard.model.risk_note import NO_NOTE, EquityNote, FxNote, PortfolioTally
from arbshard.status.model import Problem
from support.made_status import made_status


class Moment(NamedTuple):
    """What a run shows at one moment."""

    status: object
    note: object

    def picture(self, restarted=(), **settings):
        return picture_of(self.status, self.note, restarted, AlertsConfig(**settings), LimitsConfig())

    def keys(self, **settings):
        return {one.key for one in self.picture(**settings).conditions}

    def shows(self, *causes, **changes):
        problems = tuple(Problem(*cause) for cause in causes)
        return self._replace(status=replace(self.status, causes=problems, **changes))

    def noting(self, **changes):
        return self._replace(note=replace(self.note, **changes))


@pytest.fixture
def moment():
    quiet = PortfolioTally()
    status = replace(
        made_status(), state="running", problems=(), causes=(), as_of="", equity=EquityNote(), portfolio=quiet,
        lifetime=quiet, fx=FxNote(), positions=(),
    )  # fmt: skip
    return Moment(status, replace(NO_NOTE, session=1))
