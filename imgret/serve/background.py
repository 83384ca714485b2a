"""Background: long work that is begun when it is first asked for, in a thread, and told of while it goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from imgret.errors import ImgretError
from imgret.ids import escape

RELOAD = {"HX-Refresh": "true"}
"""Headers that let a page which asks how far work is be loaded anew when it is done."""

Done = TypeVar("Done")
Progress = Callable[[str, int, int], object]


class Background(Generic[Done]):
    """One piece of work.

    state    "running", "done" or "failed"
    words    how far it is, or why it failed
    result   what came of it
    """

    def __init__(self, work: Callable[[Progress], Done]) -> None:
        self._work = work
        self.state = "running"
        self.words = ""
        self.share = 0.0
        self.result: Done | None = None
        threading.Thread(target=self._run, name="imgret-background", daemon=True).start()

    def _run(self) -> None:
        try:
            self.result = self._work(self._told)
            self.state = "done"
        except ImgretError as error:
            self.words, self.state = escape(str(error)), "failed"
        except Exception as error:  # told on the page, where else would it be seen
            self.words, self.state = f"{type(error).__name__}: {error}", "failed"
            raise

    def _told(self, doing: str, done: int, of: int) -> None:
        self.words, self.share = doing, done / of if of else 0.0
