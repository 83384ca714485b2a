"""Compare what was found with what a store holds: only what is new, changed or may now succeed is work."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imgret.errors import InputError
from imgret.ids import escape, from_bytes, to_bytes
from imgret.images.decode import content_sha256
from imgret.images.files import ImageFile
from imgret.store.failures import Failure
from imgret.store.known import Known
from imgret.store.store import Store

_BOX = re.compile(r"#\d+,\d+,\d+,\d+$")


@dataclass
class Plan:
    """What a run has to do.

    work         images to describe, in order
    changed      how many of them replace a row
    kept         images whose row stands
    remembered   failures of an earlier run that would fail again
    gone         ids of the store, below the roots given, whose file is no more, or whose box is no longer
                 among the boxes given for its file
    moved        roots of the store whose folder is elsewhere now: number -> folder
    """

    work: list[ImageFile] = field(default_factory=list)
    changed: int = 0
    kept: int = 0
    remembered: list[Failure] = field(default_factory=list)
    gone: list[bytes] = field(default_factory=list)
    moved: dict[int, str] = field(default_factory=dict)


def make_plan(
    images: Sequence[ImageFile],
    store: Store,
    known: Mapping[bytes, Known],
    failures: Mapping[str, Failure],
    *,
    verify_content: bool = False,
) -> Plan:
    """Sort the images found into new, changed, kept, failed before and gone.

    InputError when an id belongs to another folder's image that still exists.
    """
    plan = Plan()
    seen: set[bytes] = set()
    for image in images:
        raw = to_bytes(image.id)
        seen.add(raw)
        before = known.get(raw)
        if before is None:
            failed = failures.get(image.id)
            if failed and not failed.retry and (failed.bytes, failed.mtime_ns) == (image.bytes, image.mtime_ns):
                plan.remembered.append(failed)
            else:
                plan.work.append(image)
            continue
        _check_root(plan, store, before, image)
        if image.missing:
            plan.gone.append(raw)
        elif _unchanged(before, image, verify_content):
            plan.kept += 1
        else:
            plan.changed += 1
            plan.work.append(image)
    given = {image.root for image in images}
    numbers = {n for n, root in enumerate(store.roots) if root.absolute in given or n in plan.moved}
    archives = {image.path for image in images if image.offset is not None}
    boxed = {image.path for image in images if image.box}
    for raw, before in known.items():
        if before.root in numbers and raw not in seen:
            folder = plan.moved.get(before.root, store.roots[before.root].absolute)
            name = from_bytes(raw)
            other_boxes = before.box is not None and os.path.join(folder, _BOX.sub("", name)) in boxed
            if other_boxes or _vanished(name, folder, archives):
                plan.gone.append(raw)
    return plan


def _check_root(plan: Plan, store: Store, before: Known, image: ImageFile) -> None:
    root = store.roots[before.root]
    if image.root in (root.absolute, plan.moved.get(before.root)):
        return
    old = root.locate(store.path)
    if os.path.samefile(old, image.root) if old.exists() else not os.path.lexists(old):
        plan.moved[before.root] = image.root
        return
    raise InputError(
        f"{store.path} already holds {escape(image.id)} from {escape(root.absolute)}, now another one comes from "
        f"{escape(image.root)}; give their common folder with --root, or use another store"
    )


def _unchanged(before: Known, image: ImageFile, verify_content: bool) -> bool:
    if before.box != image.box:
        return False
    if verify_content:
        return content_sha256(image) == before.sha256
    return (before.bytes, before.mtime_ns) == (image.bytes, image.mtime_ns)


def _vanished(image_id: str, root: str, archives: set[str]) -> bool:
    """Whether the file of an id that was not found this time is really no more."""
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
        if parts[end - 1].lower().endswith(".tar") and os.path.isfile(archive):
            return os.path.abspath(archive) in archives
    return True
