"""Group decoded images of equal size into batches, so that nothing is ever padded."""

from __future__ import annotations

from collections.abc import Iterator

from imgret.images.decode import Decoded


class SizeBatches:
    """Collects images by size and hands out batches of one size.

    At most `batch_size` images a batch and `limit` images waiting: past the limit the group of the
    image that has waited longest goes early, so a lone size never holds up the rest. Each image
    carries a rising `key` of the caller's, so that order can be restored.
    """

    def __init__(self, batch_size: int, limit: int) -> None:
        self._batch_size = batch_size
        self._limit = max(limit, batch_size)
        self._groups: dict[tuple[int, int], list[tuple[int, Decoded]]] = {}
        self._waiting = 0

    def add(self, key: int, image: Decoded) -> Iterator[tuple[list[int], list[Decoded]]]:
        """Take an image in; yield (keys, images) for each batch that is now due."""
        group = self._groups.setdefault(image.size, [])
        group.append((key, image))
        self._waiting += 1
        if len(group) >= self._batch_size:
            yield self._take(image.size)
        elif self._waiting >= self._limit:
            yield self._take(min(self._groups, key=lambda size: self._groups[size][0][0]))

    def flush(self) -> Iterator[tuple[list[int], list[Decoded]]]:
        """Yield everything that still waits."""
        while self._groups:
            yield self._take(next(iter(self._groups)))

    def _take(self, size: tuple[int, int]) -> tuple[list[int], list[Decoded]]:
        group = self._groups.pop(size)
        self._waiting -= len(group)
        return [key for key, _ in group], [image for _, image in group]
