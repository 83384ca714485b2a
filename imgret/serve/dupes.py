"""The page of near-duplicates: groups to walk through, what is said of them, and all of them as a list."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from imgret.errors import ImgretError
from imgret.ids import escape
from imgret.serve.background import RELOAD, Background, Progress
from imgret.serve.pages import page
from imgret.serve.problems import Problem
from imgret.serve.server import Server
from imgret.serve.showing import picture_url
from imgret.serve.templating import search_address

if TYPE_CHECKING:
    from imgret.duplicates.find import Group

router = APIRouter(include_in_schema=False)

THRESHOLD = 0.9
GROUPS = 20  # on a page

Threshold = Annotated[float, Query(ge=0.5, le=1)]


@dataclass(frozen=True)
class _Picture:
    """A member of a group as the template shows it."""

    id: str
    picture: str
    cosine: str
    facts: str


@dataclass(frozen=True)
class _Card:
    """A group as the template shows it; `said` is what was said of it on this page."""

    number: int
    members: list[_Picture]
    decided: bool
    said: str


@dataclass
class Found:
    """The groups of a collection at one threshold, and by number what was said of them since."""

    groups: list[Group]
    said: dict[int, str] = field(default_factory=dict)


def store_of(server: Server) -> Path:
    """The store whose images are compared; Problem where there is not one."""
    stores = server.collection.stores()
    if len(stores) != 1:
        why = "its store is not where it was" if not stores else f"it was made of {len(stores)} stores"
        raise Problem(
            422,
            "no_store",
            f"near-duplicates are looked for in a store, and {why}; serve the store: imgret serve STORE",
        )
    return stores[0]


def _work(server: Server, threshold: float) -> Background[Found]:
    """The comparison at a threshold, begun where it was not; one goes on at a time, and one is kept."""
    store, decisions = store_of(server), server.settings.decisions
    work = server.dupes.get(threshold)
    if work is None:
        if any(other.state == "running" for other in server.dupes.values()):
            raise Problem(
                503, "busy", "near-duplicates at another threshold are being looked for; ask again when that has ended"
            )
        from imgret.workflows.duplicates import find_duplicates

        def find(progress: Progress) -> Found:
            return Found(find_duplicates(store, threshold=threshold, decisions=decisions, progress=progress))

        server.dupes.clear()
        work = server.dupes[threshold] = Background(find)
    return work


@router.get("/dupes")
async def dupes(
    request: Request, threshold: Threshold = THRESHOLD, start: Annotated[int, Query(ge=0)] = 0, again: bool = False
) -> Response:
    """The groups, some at a time; while they are computed, how far that is."""
    server: Server = request.app.state.server
    if again:
        if threshold in server.dupes and server.dupes[threshold].state != "running":
            del server.dupes[threshold]
        return RedirectResponse(search_address("/dupes", threshold=threshold), 303)  # or each reload would begin anew
    work = _work(server, threshold)
    if work.state == "done" and "hx-request" in request.headers:
        return Response(headers=RELOAD)
    values: dict[str, Any] = {"here": "dupes", "threshold": threshold, "work": work, "start": start, "most": GROUPS}
    if work.result is None:
        return page(server, "dupes.html.jinja", groups=[], total=0, images=0, can_note=False, **values)
    found = work.result
    shown = [(number, group) for number, group in enumerate(found.groups) if not group.decided]
    return page(
        server,
        "dupes.html.jinja",
        groups=[_card(number, group, found.said.get(number, "")) for number, group in shown[start : start + GROUPS]],
        total=len(shown),
        images=sum(len(group.members) for _, group in shown),
        can_note=server.settings.decisions is not None,
        **values,
    )


@router.post("/dupes")
async def say(
    request: Request,
    number: Annotated[int, Form(ge=0)],
    verdict: Annotated[str, Form(pattern="^(same|different)$")],
    threshold: Annotated[float, Form(ge=0.5, le=1)] = THRESHOLD,
    id: Annotated[list[str] | None, Form()] = None,
) -> Response:
    """Note in the decisions file that images of a group are the same, or different. Nothing else is changed."""
    server: Server = request.app.state.server
    decisions, work = server.settings.decisions, server.dupes.get(threshold)
    if decisions is None:
        raise Problem(422, "not_noted", "start the server with --decisions FILE to note what you say")
    if work is None or work.result is None or number >= len(work.result.groups):
        raise Problem(404, "not_found", "these groups are not there any more; open the page again")
    group = work.result.groups[number]
    ids = [one for one in dict.fromkeys(id or ()) if one in {escape(member.id) for member in group.members}]
    from imgret.workflows.duplicates import decide

    try:
        async with server.deciding:  # the file is read, changed and written
            await run_in_threadpool(decide, store_of(server), decisions, verdict, ids)
    except ImgretError as error:
        raise Problem(422, "invalid", escape(str(error))) from None
    words = "the same picture" if verdict == "same" else "different pictures"
    work.result.said[number] = f"{len(ids)} noted as {words}"
    card = _card(number, group, work.result.said[number])
    return page(server, "group.html.jinja", group=card, threshold=threshold, can_note=True)


@router.get("/dupes.csv")
async def listed(request: Request, threshold: Threshold = THRESHOLD) -> Response:
    """All groups, as `imgret dupes --all --format csv` lists them."""
    server: Server = request.app.state.server
    work = _work(server, threshold)
    if work.result is None:
        raise Problem(503, "computing", work.words or "the groups are still being computed; ask again in a moment")
    from imgret.duplicates.listing import lines

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines(work.result.groups))
    name = f"duplicates-{threshold:g}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def _card(number: int, group: Group, said: str) -> _Card:
    members = []
    for place, one in enumerate(group.members):
        name = escape(one.id)
        copy = place and one.sha256 == group.members[0].sha256
        cosine = "" if not place else "copy" if copy else f"{one.cosine:.3f}"
        facts = f"{one.width} × {one.height}, {one.bytes / 1000:,.0f} kB"
        members.append(_Picture(name, picture_url(name), cosine, facts))
    return _Card(number, members, group.decided, said)
