"""Server: all that answers requests, put together; begun and ended with the application."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from imgret.extraction.threads import cores
from imgret.serve.asking import Asker
from imgret.serve.collection import Collection
from imgret.serve.decoders import Decoders
from imgret.serve.metrics import Metrics
from imgret.serve.pictures import Pictures
from imgret.serve.settings import Settings
from imgret.serve.turns import Turns
from imgret.serve.uploads import Uploads

if TYPE_CHECKING:
    from imgret.extraction.describe import Describer
    from imgret.serve.atlas_page import Points
    from imgret.serve.background import Background
    from imgret.serve.dupes import Found
    from imgret.serve.explaining import Explained


_DECODERS = 4  # processes at most: each may need gigabytes for the largest picture


class Server:
    """One collection and what it takes to answer questions about it."""

    def __init__(self, collection: Collection, load: Callable[[], Describer], settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.collection = collection
        self.asker = Asker(collection, load, self.settings.most_waiting)
        self.decoders = Decoders(
            max(1, min(cores(), _DECODERS)), self.settings.decode_seconds, wait_seconds=self.settings.answer_seconds
        )
        self.pictures = Pictures(
            self.decoders, self.settings.cache, self.settings.cache_bytes, self.settings.most_pixels
        )
        self.uploads = Uploads()
        self.dupes: dict[float, Background[Found]] = {}
        self.map: Background[Points] | None = None
        self.explained: dict[str, Explained] = {}
        self.explaining = Turns()
        self.deciding = asyncio.Lock()
        self.metrics = Metrics(self)

    def start(self) -> None:
        """Begin to load the model and to answer."""
        threading.Thread(target=self.collection.prepare, name="imgret-ids", daemon=True).start()
        self.asker.start()

    def stop(self) -> None:
        """End what was begun."""
        self.asker.stop()
        self.decoders.close()
