"""Turns: heavy work that is done one at a time, for not too many who wait, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from imgret.serve.problems import Problem


class Turns:
    """One at a time has a turn; at most `most` wait for theirs."""

    def __init__(self, most: int = 8) -> None:
        self._most = most
        self._free = asyncio.Lock()
        self._waiting = 0

    @asynccontextmanager
    async def turn(self, seconds: float) -> AsyncIterator[None]:
        """Wait for a turn; Problem "busy" when too many wait, or it does not come within `seconds`."""
        if self._waiting >= self._most:
            raise Problem(503, "busy", "too many ask for this already; ask again in a moment")
        self._waiting += 1
        try:
            await asyncio.wait_for(self._free.acquire(), seconds)
        except asyncio.TimeoutError:
            raise Problem(503, "busy", f"no turn within {seconds:g} s; ask again in a moment") from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()
