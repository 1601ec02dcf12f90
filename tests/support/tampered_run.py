"""In place of ``arbshard run``: brings the ledger of a run that has ended, with a change: ``$LEDGER``, ``$CHANGE``.

``$CHANGE`` is OLD=>NEW, applied to the first fill; empty for none. With ``$LASTS`` it ends after so many seconds.
"""

import contextlib
import os
import shutil
import sqlite3
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    arguments = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    target = Path(arguments["--state-dir"]) / "ledger.sqlite"
    shutil.copy(os.environ["LEDGER"], target)
    if os.environ["CHANGE"]:
        old, new = os.environ["CHANGE"].split("=>")
        with contextlib.closing(sqlite3.connect(target)) as file, file:
            file.execute("DROP TRIGGER events_update")
            seq, body = file.execute(
                "SELECT seq, body FROM events WHERE kind = 'OrderReported' AND body LIKE '%fill_id%' LIMIT 1"
            ).fetchone()
            start = body.index('"fill_id"')
            changed = body[:start] + body[start:].replace(old, new, 1)
            assert changed != body, body
            file.execute("UPDATE events SET body = ? WHERE seq = ?", (changed, seq))
    time.sleep(float(os.environ.get("LASTS", arguments["--duration"])))
