"""Names that were not found, in words: how many, which, and what they may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from itertools import islice

from imgret.ids import escape

_LOOKED_AT = 100_000  # ids compared with a name; a million would take longer than the evaluation
_CLOSE = 20_000  # of these, compared letter by letter


def missing_message(missing: Sequence[str], what: str, names: Sequence[str], where: str, ids: Iterable[str]) -> str:
    """One line about `missing` of the ground truth's `names` that are not among `ids`.

    what   "images" or "queries"
    where  where the ids are from: "the index", "the rankings"
    """
    examples = ", ".join(map(escape, missing[:3])) + (", ..." if len(missing) > 3 else "")
    if len(missing) == len(names):
        some = ", ".join(escape(image_id) for image_id in islice(ids, 3))
        return (
            f"none of the ground truth's {len(names)} {what} ({examples}) is in {where} "
            f"({some or 'nothing'}, ...): it is the ground truth of another collection, or its names are relative to "
            "another folder (extract with --root)"
        )
    near = nearest(missing[0], ids)
    meant = f" ({escape(missing[0])} is nearest to {escape(near)})" if near is not None else ""
    return (
        f"{len(missing)} of the ground truth's {len(names)} {what} are not in {where}: {examples}{meant}. "
        "Add them, or count them as never found with --allow-missing"
    )


def nearest(name: str, ids: Iterable[str]) -> str | None:
    """The id spelled most like a name, looked for among the first 100,000; None when none is near."""
    base = name.rpartition("/")[2].lower()
    letters = set(base)
    candidates: dict[str, str] = {}
    for image_id in islice(ids, _LOOKED_AT):
        other = image_id.rpartition("/")[2].lower()
        if abs(len(other) - len(base)) <= 4 and len(letters ^ set(other)) <= 4:
            candidates.setdefault(other, image_id)
            if len(candidates) == _CLOSE:
                break
    found = difflib.get_close_matches(base, candidates, n=1, cutoff=0.7)
    return candidates[found[0]] if found else None
