"""One undivided INDEX of an INDEX in parts, whose rows are not coded again."""

# faiss ships type stubs that do not know the Python layer it adds to its own classes.
# mypy: disable-error-code="attr-defined"

from __future__ import annotations

from pathlib import Path
from typing import Any

from imgret.errors import IndexFileError, StoreBusyError
from imgret.ids import unescape
from imgret.indexes.files import Index, load_faiss
from imgret.indexes.generation import Job
from imgret.indexes.kinds import Choice
from imgret.indexes.parts.dealing import subset
from imgret.indexes.parts.files import FOLDER, Parts
from imgret.indexes.parts.searcher import FILES
from imgret.indexes.plan import from_scratch
from imgret.indexes.rows import Progress, gather
from imgret.indexes.structure import Structure
from imgret.store.lock import WriterLock
from imgret.store.store import Root, Store


def merge_parts(path: Path, output: Path, progress: Progress | None = None) -> Index:
    """Make the INDEX at `output` the undivided index of the INDEX in parts at `path`, which stays as it is.

    What is written is what a build on one machine writes, and its recall is measured anew. The stores must be where
    they were, and as they were; their descriptors are read again, as the vectors beside a lossy index, and not coded
    again. Needs the memory of the whole index and of one part. IndexFileError for a kind that FAISS cannot merge
    (graphs) and for stores that have changed.
    """
    parts, output = Parts.open(Path(path)), Path(output)
    about = parts.about
    rows = gather(_stores(parts), verify=False, whitening=parts.whitening, progress=progress)
    job = Job(
        output,
        rows,
        from_scratch(rows),
        Choice(about["kind"], about["factory"], about["why"]),
        "anew",
        about["seed"],
        about["recall"]["target"],
        about["max_memory"],
        None,
        0,
        progress,
        about["trials"],
        begun=(_merged(parts), about["training"]),
    )
    output.mkdir(parents=True, exist_ok=True)
    try:
        with WriterLock(output):
            return job.run(Index.open(output) if Index.exists(output) else None)
    except StoreBusyError as error:
        raise IndexFileError(f"{str(error).partition(';')[0]}; wait for it to end") from None


def _merged(parts: Parts) -> Any:
    """All rows in one FAISS index, numbered as in the parts."""
    index = load_faiss(parts.path / FOLDER / parts.about["trained"]["file"])
    listed = Structure(index).lists > 0  # only lists know their rows by numbers
    try:
        for part in parts.parts:
            index.merge_from(load_faiss(part.folder / FILES["faiss"]), index.ntotal if listed else 0)
    except RuntimeError as error:
        raise IndexFileError(
            f"FAISS cannot merge parts of kind {parts.about['kind']}; leave them as they are, "
            "or choose another kind with --kind"
        ) from error
    return index


def _stores(parts: Parts) -> list[Store]:
    """The stores of all parts, one after the other, with the shards that are in each part."""
    places = [Root(unescape(store["absolute"]), unescape(store["relative"])) for store in parts.about["stores"]]
    stores = [Store.open(place.locate(parts.path)) for place in places]
    known = {
        entry.sha256: (place, number) for place, store in enumerate(stores) for number, entry in enumerate(store.shards)
    }
    found, end = [], 0
    for part in parts.about["parts"]:
        start, end = end, end + part["shards"]
        mine: dict[int, list[int]] = {}
        for sha256 in parts.about["shards"][start:end]:
            if sha256 not in known:
                raise _changed(parts)
            place, number = known[sha256]
            mine.setdefault(place, []).append(number)
        its = [subset(stores[place], numbers) for place, numbers in mine.items()]
        if sum(store.count for store in its) != part["count"]:
            raise _changed(parts)
        found += its
    return found


def _changed(parts: Parts) -> IndexFileError:
    return IndexFileError(
        f"the stores of {parts.path} have changed since it was made; bring it up to date first: "
        f"imgret index STORE -o {parts.path}"
    )
