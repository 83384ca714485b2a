"""Addresses: a search as it stands in one, so that it can be kept, shared and gone back to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Query

from imgret.serve.problems import Problem
from imgret.serve.searching import Wanted, known_row, parse_box
from imgret.serve.server import Server
from imgret.serve.templating import search_address

RESULTS = 24
"""Results of a search on the page, unless another number is asked for."""


@dataclass(frozen=True)
class Asked:
    """A search by an indexed image, `like`, or by an `upload`; the rest as in `Wanted`."""

    like: str = ""
    upload: str = ""
    box: str = ""
    k: int = RESULTS
    least: float | None = None
    rerank: str = ""

    def address(self, page: str = "/search", **changed: object) -> str:
        """The address of this search, with what is changed in it."""
        k = None if self.k == RESULTS else self.k
        own = {"like": self.like, "upload": self.upload, "box": self.box, "k": k, "least": self.least}
        return search_address(page, **{**own, "rerank": self.rerank, **changed})


async def asked(
    like: Annotated[str, Query(max_length=4096)] = "",
    upload: Annotated[str, Query(max_length=64)] = "",
    box: Annotated[str, Query(max_length=60)] = "",
    k: Annotated[int, Query(ge=1, le=500)] = RESULTS,
    least: Annotated[str, Query(max_length=20)] = "",
    rerank: Annotated[str, Query(max_length=500)] = "",
) -> Asked:
    """The search in an address. An empty field of the form is one that was left alone."""
    try:
        floor = float(least) if least.strip() else None
    except ValueError:
        floor = float("nan")
    if floor is not None and not -1e9 < floor < 1e9:
        raise Problem(422, "invalid", "the lowest score is a number such as 0.5")
    return Asked(like, upload, box, k, floor, rerank.strip())


def wanted_of(server: Server, one: Asked) -> Wanted:
    """What to search for; Problem for an image that is not there, or an upload that is not there any more."""
    box = parse_box(one.box)
    if one.like:
        return Wanted(known_row(server, one.like), None, box, one.k, one.least, one.rerank, leave_out_own=True)
    kept = server.uploads.get(one.upload)
    if kept is None:
        raise Problem(
            404, "upload_gone", "this picture was dropped here a while ago and is not kept any more; drop it again"
        )
    return Wanted(None, kept, box, one.k, one.least, one.rerank)
