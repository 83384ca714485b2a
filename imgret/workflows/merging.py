"""`merge`: one store from several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgret.store.merge import MergeReport, Progress


def merge(
    stores: Sequence[Path],
    output: Path,
    *,
    newest: bool = False,
    repack: int | None = None,
    progress: Progress | None = None,
    say: Callable[[str], object] | None = None,
) -> MergeReport:
    """Put what `output` lacks of some stores of one recipe into it.

    `newest` keeps, of an id in two stores, the file that was changed last; otherwise that is a StoreError.
    `repack` writes shards of so many rows instead of copying them. `say` is told of waiting.
    """
    from imgret.remote_path import as_place
    from imgret.store.merge import merge as run
    from imgret.store.store import Store

    opened = [Store.open(path) for path in stores]
    return run(opened, as_place(output), newest=newest, repack=repack, progress=progress, say=say)
