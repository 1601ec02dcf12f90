"""The command's entry: an interrupt while modules are being imported."""

import sys
from types import ModuleType

import pytest

from arbshard.__main__ import main


class _Interrupted(ModuleType):
    def __getattr__(self, name: str) -> object:
        raise KeyboardInterrupt


def test_an_interrupt_during_the_imports_ends_without_a_traceback(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "arbshard.cli", _Interrupted("arbshard.cli"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert ended.value.__suppress_context__
