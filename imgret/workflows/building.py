"""`build_index`: from stores to an index."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgret.errors import IndexFileError

if TYPE_CHECKING:
    from imgret.indexes.build import IndexReport
    from imgret.store.store import Store

_MAKING = "making-parts"  # in an INDEX that is being put together of parts


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
    parts: int | None = None,
    engine: str = "local",
    ray_address: str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> IndexReport:
    """Build or update a FAISS index over one or more stores.

    `whitening` is a file of `whiten`; "none" for none, None for that of an existing index. `dba` is text such
    as "k=10,alpha=3", "none" and None as before; `graph` is the neighbours a row, 0 for no graph, None as before.
    `parts` is how many parts an index has, 1 for an undivided one, None as before. With the engine 'ray' parts are made
    on the cluster at `ray_address`, also those that an undivided index is put together from.
    """
    from imgret.indexes.build import build
    from imgret.indexes.dba import parse_dba
    from imgret.indexes.files import Index
    from imgret.indexes.parts.build import build_parts
    from imgret.indexes.parts.files import Parts
    from imgret.store.store import Store
    from imgret.whitening.transform import Whitening

    augmentation: Any = None if dba is None else parse_dba(dba) or "none"
    if parts is None and Parts.exists(output):
        parts = len(Parts.open(output).parts)
    opened = [Store.open(path) for path in stores]
    white: Any = "none" if whitening == "none" else whitening and Whitening.load(Path(whitening))
    ways: dict[str, Any] = {
        "kind": kind,
        "factory": factory,
        "max_memory": max_memory,
        "target_recall": target_recall,
        "seed": seed,
        "whitening": white,
        "progress": progress,
    }
    output, augmented = Path(output), augmentation not in (None, "none")
    if parts is not None and parts > 1:
        _check_parts(output, dba=augmented, graph=bool(graph), add=add_only, compact=compact)
        with _made_on(engine, ray_address, progress) as hands:
            return build_parts(opened, output, parts, **ways, **hands)
    if engine != "local" and not Index.exists(output):
        _check_parts(output, dba=augmented, graph=bool(graph), add=add_only, compact=compact)
        return _put_together(opened, output, ways, engine, ray_address)
    return build(opened, output, dba=augmentation, graph=graph, add_only=add_only, compact=compact, **ways)


@contextmanager
def _made_on(
    engine: str, ray_address: str | None, progress: Callable[[str, int, int], None] | None
) -> Iterator[dict[str, Any]]:
    """What makes parts, and asks them while recall is measured, on an engine; nothing for this machine."""
    if engine == "local":
        yield {}
        return
    from imgret.engines.cluster import connected
    from imgret.engines.parts import Actors, Makers
    from imgret.extraction.threads import cores

    with connected(ray_address, cores()) as cluster:
        yield {"run": Makers(cluster, progress), "asking": partial(Actors, cluster)}


def _put_together(
    stores: Sequence[Store], output: Path, ways: dict[str, Any], engine: str, ray_address: str | None
) -> IndexReport:
    """An undivided index from parts that an engine makes in a folder within, which goes when they are one."""
    from imgret.engines.cluster import connected
    from imgret.extraction.threads import cores
    from imgret.indexes.beginning import check_folder
    from imgret.indexes.build import build
    from imgret.indexes.kinds import INDEX_KINDS
    from imgret.indexes.parts.build import build_parts
    from imgret.indexes.parts.undivided import merge_parts

    check_folder(output)
    if (ways["kind"] in INDEX_KINDS and INDEX_KINDS[ways["kind"]].graph) or "HNSW" in (ways["factory"] or ""):
        raise IndexFileError("FAISS cannot put graphs together; give --parts N, or leave out --engine")
    making = output.absolute() / _MAKING
    # Of a try that was cut off the parts are kept, but what it was asked for is not asked for now.
    (making / "index.json").unlink(missing_ok=True)
    with connected(ray_address, cores()) as cluster:
        # as many as can be made at once, of whole shards; while they are put together they are not searched
        parts = min(int(cluster.count("CPU")), sum(entry.live_count > 0 for store in stores for entry in store.shards))
        if parts < 2:
            return build(stores, output, **ways)
        with _made_on(engine, ray_address, ways["progress"]) as hands:
            report = build_parts(stores, making, parts, whole=True, **ways, **hands)
    index = merge_parts(making, output, ways["progress"])
    shutil.rmtree(making)
    return replace(report, path=output, parts=None, recall=index.about["recall"])


def _check_parts(output: Path, *, dba: bool, graph: bool, add: bool, compact: bool) -> None:
    """IndexFileError for what an index in parts cannot do."""
    wrong = {
        "augmented rows; leave out --dba, or make an undivided index in another folder with -o": dba,
        "graph of neighbours; leave out --graph, or make an undivided index in another folder with -o": graph,
        "rows that no store given holds; leave out --add and give every store": add,
        "removed rows and no tail, so there is nothing to compact; leave out --compact": compact,
    }
    for what, asked in wrong.items():
        if asked:
            raise IndexFileError(f"{output} is to be an index in parts, which have no {what}")
