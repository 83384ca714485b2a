"""Stand-ins for packages: modules of one name that do what a broken one would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

NMS = "raise RuntimeError('operator torchvision::nms does not exist')"
SIGILL = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"
SIGSEGV = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
HANG = "import time; time.sleep(600)"
FINE = ""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Put a module in front of the real one; the folder it is in."""
    folder = tmp_path / "stand-ins"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def put(name: str, code: str) -> Path:
        (folder / f"{name}.py").write_text(code, encoding="utf-8")
        return folder

    return put
