"""`extract` and `build_index`: from images to a store, from stores to an index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imgret.extraction.job import Say, quiet

if TYPE_CHECKING:
    from imgret.extraction.extract import ExtractReport, Progress
    from imgret.extraction.job import ExtractJob
    from imgret.indexes.build import IndexReport


def extract(job: ExtractJob, *, progress: Progress | None = None, say: Say = quiet) -> ExtractReport:
    """Bring a store up to date with the images of a job."""
    from imgret.extraction.extract import run

    return run(job, progress=progress, say=say)


def build_index(
    stores: Sequence[Path],
    output: Path,
    *,
    kind: str = "auto",
    factory: str | None = None,
    max_memory: int | None = None,
    target_recall: float | None = None,
    seed: int | None = None,
    whitening: str | Path | None = None,
    dba: str | None = None,
    graph: int | None = None,
    add_only: bool = False,
    compact: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> IndexReport:
    """Build or update a FAISS index over one or more stores.

    `whitening` is a file of `whiten`; "none" for none, None for that of an existing index. `dba` is text such
    as "k=10,alpha=3", "none" and None as before; `graph` is the neighbours a row, 0 for no graph, None as before.
    """
    from imgret.indexes.build import build
    from imgret.indexes.dba import parse_dba
    from imgret.store.store import Store
    from imgret.whitening.transform import Whitening

    augmentation = None if dba is None else parse_dba(dba) or "none"
    return build(
        [Store.open(Path(path)) for path in stores],
        Path(output),
        kind=kind,
        factory=factory,
        max_memory=max_memory,
        target_recall=target_recall,
        seed=seed,
        whitening="none" if whitening == "none" else whitening and Whitening.load(Path(whitening)),  # type: ignore[arg-type]
        dba=augmentation,  # type: ignore[arg-type]
        graph=graph,
        add_only=add_only,
        compact=compact,
        progress=progress,
    )
