"""Run a few lines of Python in a child process: whatever becomes of it, this process goes on and can tell."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

TIMEOUT = 180.0
"""Seconds: the first import of torch from a slow disk, or on a crowded machine, takes a minute."""

_WINDOWS = {0xC000001D: "SIGILL", 0xC0000005: "SIGSEGV", 0xC0000409: "SIGABRT"}  # NTSTATUS, as an exit status


@dataclass(frozen=True)
class Outcome:
    """How a child ended: 'well', 'error', 'signal' or 'hang'.

    answer   what its last line of stdout says, read as JSON; only when it ended well
    reason   the last line of its stderr, or the signal's name (SIGILL)
    detail   the end of its stderr
    """

    ended: str
    answer: Any = None
    reason: str = ""
    detail: str = ""


def run(code: str, timeout: float = TIMEOUT) -> Outcome:
    """Run `code`, which prints one line of JSON at its end, with the imports that this process would find."""
    # Not what -c brings: it would put the current folder first, and a photos/numpy.py would be taken for numpy.
    code = f"import sys; sys.path[:] = {sys.path!r}\n{code}"
    try:
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", code],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as late:
        return Outcome("hang", reason=f"it did not end within {timeout:.0f} s", detail=_end(late.stderr))
    detail = _end(done.stderr)
    name = _signal(done.returncode)
    if name:
        return Outcome("signal", reason=name, detail=detail)
    try:
        if done.returncode == 0:
            return Outcome("well", json.loads(done.stdout.splitlines()[-1]), detail=detail)
    except (IndexError, ValueError):
        return Outcome("error", reason="it ended early and said nothing", detail=detail)
    lines = detail.splitlines()
    return Outcome("error", reason=lines[-1] if lines else f"exit status {done.returncode}", detail=detail)


def _signal(status: int) -> str:
    """The name of the signal that ended a process, '' if none did."""
    if status < 0:
        try:
            return signal.Signals(-status).name
        except ValueError:
            return f"signal {-status}"
    return _WINDOWS.get(status & 0xFFFFFFFF, "")


def _end(written: bytes | None) -> str:
    return "\n".join((written or b"").decode("utf-8", "replace").strip().splitlines()[-20:])
