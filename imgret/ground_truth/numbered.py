"""Collections whose groups are told from the numbers in the names of the images."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from imgret.errors import GroundTruthError
from imgret.ids import escape


def by_number(path: Path, names: Iterable[str], pattern: re.Pattern[str], example: str) -> dict[int, str]:
    """number -> name, ascending; the number is group 1 of `pattern`, which the whole last part of a name matches.

    GroundTruthError for a name that does not match, or two of one number.
    """
    name_of: dict[int, str] = {}
    for name in names:
        match = pattern.fullmatch(name.rpartition("/")[2])
        if match is None:
            raise GroundTruthError(f"{escape(str(path))}: {escape(name)} is not named as {example} is")
        number = int(match[1])
        if number in name_of:
            raise GroundTruthError(
                f"{escape(str(path))}: {escape(name_of[number])} and {escape(name)} have one number, {number}"
            )
        name_of[number] = name
    return {number: name_of[number] for number in sorted(name_of)}
