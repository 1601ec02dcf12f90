"""``kills`` is no installed package: it is found from this folder, however pytest was started."""

import sys
from pathlib import Path

_HERE = str(Path(__file__).resolve().parent)
if _HERE not in sys.path:
    sys.path.append(_HERE)
