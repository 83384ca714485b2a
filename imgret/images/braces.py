"""Names in braces, as those who use WebDataset write their shards: shard-{000000..000146}.tar, {train,val}.tar."""

from __future__ import annotations

import re
from collections.abc import Iterator

_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}")


def expand(name: str) -> Iterator[str]:
    """The names that one with braces stands for, in order, as a shell gives them; a name without them is itself.

    `{08..11}` counts up or down and keeps leading zeros, `{a,b}` chooses; several may stand beside each other.
    """
    match = _BRACES.search(name)
    if match is None:
        yield name
        return
    before, after = name[: match.start()], name[match.end() :]
    for middle in _range(match[1], match[2]) if match[1] else match[3].split(","):
        yield from expand(before + middle + after)


def _range(first: str, last: str) -> Iterator[str]:
    padded = any(len(edge) > 1 and edge.startswith("0") for edge in (first, last))
    width = max(len(first), len(last)) if padded else 0
    step = 1 if int(first) <= int(last) else -1
    return (f"{number:0{width}d}" for number in range(int(first), int(last) + step, step))
