"""Finding: one row of what the doctor says. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OK, WARNING, WRONG = "ok", "warning", "wrong"
VERDICTS = (OK, WARNING, WRONG)


@dataclass(frozen=True)
class Finding:
    """What was looked at, and what was found.

    what       the thing, in a word or two
    verdict    'ok', 'warning' (imgret works, but) or 'wrong' (imgret, or a part of it, does not work)
    words      what was found, one line
    next_step  what to type, or to do, next; '' when nothing is needed
    figures    the numbers of `words`, for programs
    detail     the last lines a child process wrote, for those who ask
    """

    what: str
    verdict: str
    words: str
    next_step: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    detail: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"a verdict is one of {', '.join(VERDICTS)}, got {self.verdict!r}")
