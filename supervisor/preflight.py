"""Before a live run starts: the checks of ``arbshard doctor``, none of which may fail when orders are to be sent."""

from collections.abc import Callable, Mapping

from arbshard.config import Config
from arbshard.doctor.checks import Check, examine
from arbshard.doctor.probing import gather_facts
from arbshard.errors import UsageError
from arbshard.log import get_logger
from arbshard.model.universe import Universe
from arbshard.venues.keys import Keys


async def run_preflight(
    config: Config, universe: Universe, keys: Mapping[str, Keys], alert: Callable[[str], None]
) -> None:
    """Raises ``UsageError`` when a check fails; in a dry run ``alert`` is told instead. Warnings are logged."""
    checks = examine(config, await gather_facts(config, universe, keys))
    for check in checks:
        if check.verdict == "warning":
            get_logger().warning("doctor", venue=check.venue, check=check.name, found=check.found)
    failed = [check for check in checks if check.verdict == "fail"]
    get_logger().info("doctor", checks=len(checks), failed=len(failed))
    if not failed:
        return
    if not config.live.dry_run:
        raise UsageError(f"not fit to trade, see 'arbshard doctor': {'; '.join(map(_line, failed))}")
    for check in failed:
        alert(f"doctor: {_line(check)}")


def _line(check: Check) -> str:
    advice = f" ({check.advice})" if check.advice else ""
    return f"{check.venue} {check.name}: {check.found}{advice}"
