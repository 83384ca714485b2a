"""WhitenedStore: a store read as a whitening makes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from imgret.store.store import Block, Store, unit
from imgret.whitening.transform import Whitening


@dataclass(frozen=True)
class WhitenedStore:
    """The live rows of a store, whitened as they are read; rows and ids are the store's."""

    store: Store
    whitening: Whitening

    @property
    def count(self) -> int:
        """Live descriptors."""
        return self.store.count

    @property
    def dim(self) -> int:
        """d, after whitening."""
        return self.whitening.dim

    def blocks(self, rows: int = 65536) -> Iterator[Block]:
        """As `Store.blocks`: unit float32 descriptors [n, d]."""
        for block in self.store.blocks(rows):
            yield replace(block, descriptors=unit(self.whitening.apply(block.descriptors)))
