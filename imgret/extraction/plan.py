"""Compare what was found with what a store holds: only what is new, changed or may now succeed is work."""

from __future__ import annotations

import os
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, islice
from pathlib import Path

import numpy as np

from imgret.errors import InputError
from imgret.ids import escape, from_bytes, to_bytes
from imgret.images.files import ImageFile, in_part
from imgret.images.image_file import is_image
from imgret.images.reading import content_sha256
from imgret.images.remote import is_lost
from imgret.places import is_archive, is_url, remote_place
from imgret.store.failures import Failure
from imgret.store.known import Known, KnownImages
from imgret.store.store import Store

_BOX = re.compile(r"#\d+,\d+,\d+,\d+$")
_AT_ONCE = 16384  # images compared together: each shard their ids are in is then opened once


class Work:
    """Some of the images found, in their order: iterated as often as one likes, a byte of memory each."""

    def __init__(self, images: Sequence[ImageFile], *, all_of_them: bool = False) -> None:
        self._images = images
        self._chosen = bytearray((b"\1" if all_of_them else b"\0") * len(images))
        self._count = len(images) if all_of_them else 0

    def add(self, number: int) -> None:
        """Choose an image by its number; once."""
        self._chosen[number] = 1
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[ImageFile]:
        return compress(self._images, self._chosen)


@dataclass
class Plan:
    """What a run has to do.

    work         images to describe, in order
    changed      how many of them replace a row
    kept         images whose row stands
    remembered   failures of an earlier run that would fail again, by reason
    outdated     ids with a failure on record whose row stands, or whose file is no more
    gone         places (see KnownImages) below the roots given whose file is no more, or whose box is no longer
                 among the boxes given for its file
    moved        roots of the store whose folder is elsewhere now: number -> folder
    """

    work: Work
    changed: int = 0
    kept: int = 0
    remembered: Counter[str] = field(default_factory=Counter)
    outdated: list[str] = field(default_factory=list)
    gone: array[int] = field(default_factory=lambda: array("q"))
    moved: dict[int, str] = field(default_factory=dict)


def make_plan(
    images: Sequence[ImageFile],
    store: Store,
    known: KnownImages,
    failures: Mapping[str, Failure],
    *,
    verify_content: bool = False,
    offline: bool = False,
    prune: bool = False,
    roots: Iterable[str] = (),
    archives: Iterable[str] = (),
    part: tuple[int, int] | None = None,
) -> Plan:
    """Sort the images found into new, changed, kept, failed before and gone, in one pass.

    `images` may be a `part` of all; rows of other parts are not judged. `roots` and `archives` were looked at too,
    whatever was found there (see Listing). What is behind a URL is asked for only to `prune`, and not `offline`:
    without, it is not counted as gone. An id that a list gave stands for no path: unless it ends like the name of an
    image, its row is never gone while it is not in a list.

    InputError when an id belongs to another folder's image that still exists.
    """
    plan = Plan(Work(images))
    found = _Found(known, roots, archives)
    ask = prune and not offline
    for number, (image, place) in enumerate(_with_places(images, known)):
        found.note(image, place)
        failed = failures.get(image.id) if failures else None
        if failed is not None:
            found.failures.add(image.id)
        if place < 0:
            if failed and not failed.retry and (failed.bytes, failed.mtime_ns) == (image.bytes, image.mtime_ns):
                plan.remembered[failed.reason] += 1
            else:
                plan.work.add(number)
            continue
        _check_root(plan, store, known[place], image)
        if image.missing and _is_lost(image.path):  # not one that could only not be looked at
            plan.gone.append(place)
        elif image.missing or _unchanged(known, place, image, verify_content):
            plan.kept += 1
        else:
            plan.changed += 1
            plan.work.add(number)
            continue
        if failed is not None:
            plan.outdated.append(failed.id)
    unlisted = [failure for failure in failures.values() if failure.id not in found.failures]
    places = known.find([to_bytes(failure.id) for failure in unlisted]).tolist()
    for failure, place in zip(unlisted, places, strict=True):
        looked_at = found.has_looked_at(failure.path) and (ask or not is_url(failure.path))
        if place >= 0 or (looked_at and _is_lost(failure.path)):
            plan.outdated.append(failure.id)
    _find_gone(plan, store, known, found, ask, part)
    return plan


class _Found:
    """What one pass over the images leaves in memory: roots, archives, a bit for each row, a hash for each box."""

    def __init__(self, known: KnownImages, roots: Iterable[str], archives: Iterable[str]) -> None:
        self.seen = [np.zeros(len(facts.live), bool) for facts in known.shards]
        self.failures: set[str] = set()
        self.roots = set(roots)
        self.archives = set(archives)
        self._boxed = array("q")
        self._has_boxes = any(facts.box is not None for facts in known.shards)

    def note(self, image: ImageFile, place: int) -> None:
        if place >= 0:
            self.seen[place >> 32][place & 0xFFFFFFFF] = True
        self.roots.add(image.root)
        if image.box and self._has_boxes:
            self._boxed.append(hash(image.path))

    def has_looked_at(self, path: str) -> bool:
        """Whether a path or URL is below one of the roots."""
        return any(path.startswith(root.rstrip("/") + "/") for root in self.roots)

    def boxed(self) -> np.ndarray:
        """Hashes of the files that boxes were given for, rising."""
        return np.unique(np.frombuffer(self._boxed, np.int64)) if self._boxed else np.zeros(0, np.int64)


def _with_places(images: Sequence[ImageFile], known: KnownImages) -> Iterator[tuple[ImageFile, int]]:
    remaining = iter(images)
    while block := list(islice(remaining, _AT_ONCE)):
        yield from zip(block, known.find([to_bytes(image.id) for image in block]).tolist(), strict=True)


def _find_gone(
    plan: Plan, store: Store, known: KnownImages, found: _Found, ask: bool, part: tuple[int, int] | None
) -> None:
    numbers = [n for n, root in enumerate(store.roots) if root.absolute in found.roots or n in plan.moved]
    boxed = found.boxed()
    for shard, facts in enumerate(known.shards):
        unseen = np.flatnonzero(facts.live & ~found.seen[shard] & np.isin(facts.root, numbers))
        for place in (shard << 32 | unseen).tolist():
            before = known[place]
            folder = plan.moved.get(before.root, store.roots[before.root].absolute)
            name = from_bytes(known.id_of(place))
            if part is not None and not in_part(name, part):
                continue  # another part's
            file = hash(os.path.join(folder, _BOX.sub("", name))) if before.box is not None else 0
            at = np.searchsorted(boxed, file)
            other_boxes = before.box is not None and at < len(boxed) and boxed[at] == file
            if other_boxes or _vanished(name, folder, found.archives, ask):
                plan.gone.append(place)


def _is_lost(path: str) -> bool:
    if is_url(path):
        return is_lost(path)
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):  # it cannot be looked at, which is no proof that it is gone
        return False
    return False


def _check_root(plan: Plan, store: Store, before: Known, image: ImageFile) -> None:
    root = store.roots[before.root]
    if image.root in (root.absolute, plan.moved.get(before.root)):
        return
    old = root.locate(store.path)
    local = isinstance(old, Path) and not is_url(image.root)  # no URL is ever the same place as a folder
    if local and (os.path.samefile(old, image.root) if os.path.exists(old) else not os.path.lexists(old)):
        plan.moved[before.root] = image.root
        return
    raise InputError(
        f"{store.path} already holds {escape(image.id)} from {escape(root.absolute)}, now another one comes from "
        f"{escape(image.root)}; give their common folder with --root, or use another store"
    )


def _unchanged(known: KnownImages, place: int, image: ImageFile, verify_content: bool) -> bool:
    before = known[place]
    if before.box != image.box:
        return False
    if verify_content:
        return content_sha256(image) == known.sha256_of(place)
    return (before.bytes, before.mtime_ns) == (image.bytes, image.mtime_ns)


def _vanished(image_id: str, root: str, archives: set[str], ask: bool) -> bool:
    """Whether the file of an id that was not found this time is really no more."""
    if not is_image(_BOX.sub("", image_id)):  # an id of a list's own, which says nothing of its file
        return False
    if is_url(root):
        place = remote_place(root, image_id)
        return place in archives or (ask and is_lost(place))
    for name in (image_id, _BOX.sub("", image_id)):
        try:
            os.lstat(os.path.join(root, name))
            return False
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError):  # it cannot be looked at, which is no proof that it is gone
            return False
    parts = Path(image_id).parts
    for end in range(1, len(parts)):
        archive = os.path.join(root, *parts[:end])
        if is_archive(parts[end - 1]) and os.path.isfile(archive):
            return os.path.abspath(archive) in archives
    return True
