"""Decisions: what the user has said of pairs of images, by their content, so that it outlives names and stores."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from imgret import atomic
from imgret.errors import InputError
from imgret.ids import escape, unescape

VERDICTS = ("different", "same")
_COLUMNS = ("first", "second", "verdict", "first_id", "second_id")
_HEX = 64  # digits of a SHA-256


def content(sha256: bytes, box: Sequence[int] | None) -> str:
    """What an image is, whatever it is called: the SHA-256 of its file in hex; of a crop, that of this and its box."""
    if box is None:
        return sha256.hex()
    return hashlib.sha256(sha256 + ",".join(map(str, box)).encode()).hexdigest()


@dataclass(frozen=True)
class Decision:
    """One pair of images by `content`, the smaller first; the ids are what they were called, for people.

    Two copies of one file are a pair too.
    """

    first: str
    second: str
    verdict: str
    first_id: str
    second_id: str


class Decisions:
    """A decisions file: CSV, a line for each pair; the last word on a pair counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._by_pair = {(one.first, one.second): one for one in _read(path)}

    def __len__(self) -> int:
        return len(self._by_pair)

    def verdict(self, one: str, other: str) -> str | None:
        """What was said of two files by their hashes: a row of VERDICTS, or None."""
        found = self._by_pair.get((min(one, other), max(one, other)))
        return None if found is None else found.verdict

    def pairs(self, verdict: str) -> list[tuple[str, str]]:
        """The pairs of which this was said."""
        return [pair for pair, one in self._by_pair.items() if one.verdict == verdict]

    def say(self, verdict: str, images: Sequence[tuple[str, str]]) -> int:
        """Say it of every two of some images (hash, id); how many pairs are new or said otherwise before."""
        if verdict not in VERDICTS:
            raise ValueError(f"a verdict is one of {', '.join(VERDICTS)}, not {verdict!r}")
        changed = 0
        for one, other in combinations(sorted(set(images)), 2):
            decision = Decision(one[0], other[0], verdict, one[1], other[1])
            before = self._by_pair.get((one[0], other[0]))
            changed += before is None or before.verdict != verdict
            self._by_pair[one[0], other[0]] = decision if before is None else replace(before, verdict=verdict)
        return changed

    def save(self) -> None:
        """Write the file, whole or not at all, in order of the pairs."""
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(_COLUMNS)
        for _, one in sorted(self._by_pair.items()):
            lines.writerow((one.first, one.second, one.verdict, escape(one.first_id), escape(one.second_id)))
        atomic.write_text(self.path, text.getvalue())


def _read(path: Path) -> list[Decision]:
    if not path.exists():
        return []
    found = []
    try:
        with open(path, encoding="utf-8", newline="") as file:
            lines = csv.DictReader(file)
            if tuple(lines.fieldnames or ()) not in ((), _COLUMNS):
                raise ValueError(f"its first line is not {','.join(_COLUMNS)}")
            for number, line in enumerate(lines, 2):
                first, second, verdict = line["first"], line["second"], line["verdict"]
                if verdict not in VERDICTS or first > second or {len(first), len(second)} != {_HEX}:
                    raise ValueError(f"line {number}")
                found.append(Decision(first, second, verdict, unescape(line["first_id"]), unescape(line["second_id"])))
    except (OSError, KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise InputError(
            f"{path} is no decisions file of imgret dupes ({error}); mend it, or name another with --decisions"
        ) from error
    return found
