"""``soaking`` and ``perf`` are no installed packages: they are found from here, however pytest was started."""

import sys
from pathlib import Path

for _place in (Path(__file__).resolve().parent, Path(__file__).resolve().parents[2]):
    if str(_place) not in sys.path:
        sys.path.append(str(_place))
