"""`find_duplicates` and `decide`: near-duplicates of a store, and what the user says of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imgret.errors import InputError

if TYPE_CHECKING:
    from imgret.duplicates.find import Group, Progress


def find_duplicates(
    store: Path,
    *,
    threshold: float | None = None,
    nearest: int | None = None,
    decisions: Path | None = None,
    progress: Progress | None = None,
) -> list[Group]:
    """Groups of images in a store of which every two are alike (see imgret.duplicates.find). Nothing is changed.

    `decisions` is a file of `decide`: what was said to be different never stands in one group. InputError for a store
    at a URL, which would be read once for every few thousand images.
    """
    from imgret.duplicates import find as finding
    from imgret.duplicates.decisions import Decisions
    from imgret.remote_path import RemotePath
    from imgret.store.store import Store

    opened = Store.open(store)
    if isinstance(opened.path, RemotePath):
        raise InputError(
            f"{opened.path} would be read many times over; copy it here first: imgret merge {opened.path} -o store"
        )
    return finding.find(
        opened,
        threshold=finding.THRESHOLD if threshold is None else threshold,
        nearest=finding.NEAREST if nearest is None else nearest,
        decisions=None if decisions is None else Decisions(decisions),
        progress=progress,
    )


def decide(store: Path, decisions: Path, verdict: str, ids: Sequence[str]) -> int:
    """Note in a decisions file that some images of a store are 'different' or the 'same'; how many pairs that changes.

    Images are remembered by their content, so the note holds when they are moved. Ids may be as they are or as they are
    printed. InputError for fewer than two images, one that the store does not hold, or files that are equal to the
    last byte and yet 'different'.
    """
    from imgret.duplicates.decisions import Decisions, content
    from imgret.ids import escape, from_bytes, to_bytes, unescape
    from imgret.store.known import KnownImages
    from imgret.store.store import Store

    known, said = KnownImages(Store.open(store)), Decisions(decisions)
    places = known.find([to_bytes(one) for one in ids]).tolist()
    printed = known.find([to_bytes(unescape(one)) for one in ids]).tolist()
    places = [place if place >= 0 else other for place, other in zip(places, printed, strict=True)]
    for one, place in zip(ids, places, strict=True):
        if place < 0:
            raise InputError(f"{store} holds no image {escape(one)}; ids are as imgret dupes {store} prints them")
    places = sorted(set(places))
    if len(places) < 2:
        raise InputError(f"that an image is {verdict} takes two: name each with --{verdict}")
    images = [(content(known.sha256_of(place), known[place].box), from_bytes(known.id_of(place))) for place in places]
    if verdict == "different" and len(dict(images)) < len(images):
        raise InputError("two of these files are equal to the last byte, so they cannot be different")
    changed = said.say(verdict, images)
    said.save()
    return changed
