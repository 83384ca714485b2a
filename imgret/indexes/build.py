"""Build: stores in, an INDEX out; a new one, or the old one brought up to date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from imgret.indexes import writing
from imgret.indexes.beginning import check_folder, check_kind, held, whitening_for
from imgret.indexes.dba import Dba, dba_of, remove_plain_folder
from imgret.indexes.files import Index
from imgret.indexes.generation import How, Job
from imgret.indexes.plan import Plan, from_scratch, keeps_base, update, why_rebuild
from imgret.indexes.rows import Progress, gather
from imgret.indexes.snapshots import Snapshots
from imgret.indexes.structure import create
from imgret.indexes.wish import Wish
from imgret.store.store import Store
from imgret.whitening.transform import Whitening


@dataclass(frozen=True)
class IndexReport:
    """What a build did.

    changed          False when the index held the stores already and nothing was written
    rebuilt_because  why an existing index was made anew, else None
    count            live rows; `dead` are rows left out of every search until the index is compacted or made anew
    tail             rows that came after the base was written, and are compared with one by one
    resumed          rows that an interrupted build had added already, None where nothing was resumed
    trials           the kinds that were tried before this one was chosen now, as in index.json
    recall           as in index.json: "recall@10" (None where there is nothing to find), "queries",
                     "target", "reached", "how"; "later" rows have come since it was measured
    whitening        as in index.json: the card of the whitening, or None
    dba              what the rows were augmented with, or None
    graph            neighbours a row in the graph, or None
    parts            of an index in parts: how many were made and how many kept; None for an undivided one
    """

    path: Path
    changed: bool
    rebuilt_because: str | None
    count: int
    dead: int
    added: int
    removed: int
    kept: int
    kind: str
    factory: str
    why: str
    parameters: dict[str, int] = field(default_factory=dict)
    recall: dict[str, Any] = field(default_factory=dict)
    whitening: dict[str, Any] | None = None
    dba: Dba | None = None
    graph: int | None = None
    tail: int = 0
    resumed: int | None = None
    trials: list[dict[str, Any]] = field(default_factory=list)
    parts: tuple[int, int] | None = None


def build(
    stores: Sequence[Store],
    output: Path,
    *,
    kind: str = "auto",
    factory: str | None = None,
    max_memory: int | None = None,
    target_recall: float | None = None,
    seed: int | None = None,
    whitening: Whitening | Literal["none"] | None = None,
    dba: Dba | Literal["none"] | None = None,
    graph: int | None = None,
    add_only: bool = False,
    compact: bool = False,
    verify: bool = True,
    progress: Progress | None = None,
) -> IndexReport:
    """Make the INDEX at `output` hold exactly the live rows of the stores (with `add_only`, at least them).

    kind or factory  a row of INDEX_KINDS or "auto", or a FAISS factory string
    max_memory       bytes for the index as searched; as before, else half of the physical memory
    target_recall    of recall@10 against exact search; the search parameters are tuned to it [0.95]
    seed             of samples and clustering [0]
    whitening        what descriptors and, later, queries pass through; "none" for none
    dba              what descriptors are augmented with after that, but queries are not; "none" for nothing
    graph            neighbours a row in a graph that is stored with the index, of the vectors that are searched;
                     0 for no graph
    compact          write one base of all live rows, without a tail and without rows that no longer count
    verify           hash every shard before it is used, but for those that the index holds already
    progress         called as progress(what, done, total)

    A target, memory, seed, whitening, dba or graph that is not said is that of the existing index, as is a kind that
    was asked for by name.
    An existing index keeps the rows whose shard and place are unchanged, adds the others, and leaves out
    what the stores no longer hold. A large one keeps the files of its base: a few new rows go into a tail beside
    it, until there are too many. `rebuilt_because` says when it had to be made anew, as an augmented index
    is for every change of rows. A graph is made anew with the rows, or by itself. Readers are not
    disturbed. A build that is cut off goes on where its last snapshot was taken when the same is asked for again.
    The same stores, arguments and seed give the same index, except that hnsw is built by several
    threads and is alike, not equal.

    IndexFileError, StoreError, WhiteningError or UnknownNameError for whatever a user can fix.
    """
    output = Path(output)
    if target_recall is not None and not 0 < target_recall <= 1:
        raise ValueError(f"target_recall must be above 0 and at most 1, got {target_recall}")
    if graph is not None and graph < 0:
        raise ValueError(f"graph must be at least 0, got {graph}")
    check_kind(kind, factory)
    check_folder(output)
    present = Index.open(output) if Index.exists(output) else None
    before = None if present is None else present.about
    white = whitening_for(output, present, stores[0], whitening)
    if before is not None:
        dba = dba_of(before) if dba is None else dba
        graph = before.get("graph") if graph is None else graph
    wish = Wish.of(before, kind, factory, max_memory, target_recall, seed, progress)
    graph, dba = graph or 0, None if dba == "none" else dba
    sound = frozenset(before["shards"]) if before is not None else frozenset()
    if not add_only and (count := sum(store.count for store in stores)):  # refused before anything is read
        wish.quick(count, stores[0].dim if white is None else white.dim)
    rows = gather(stores, verify=verify, sound=sound, whitening=white, progress=progress)
    if before is None:  # refused now rather than after making a folder
        create(wish.quick(len(rows), rows.dim).factory, rows.dim, wish.seed)
    with held(output):
        remove_plain_folder(output)
        scratch = from_scratch(rows)
        old = Index.open(output) if Index.exists(output) else None
        plan = update(old, rows, add_only) if old is not None else scratch
        choice = wish.quick(plan.count, rows.dim) if old is None else wish.kept(old, plan.count)
        reason = None if old is None else why_rebuild(old, plan, choice, wish.factory, wish.seed, rows, dba)
        how: How = "anew"
        if old is not None and reason is None:
            compact = compact and bool(old.tail or len(plan.deleted))
            if not compact and _unchanged(old, plan, wish.target, graph):
                writing.discard(output, old.about["files"])  # what a build that was given up has left
                if old.about.get("max_memory") != wish.max_memory:
                    writing.publish(output, old.about | {"max_memory": wish.max_memory})
                return _report(old, plan, changed=False, reason=None)
            tailed = not (compact or graph or old.about.get("graph")) and keeps_base(old, plan)
            how = "compacted" if compact else "tail" if tailed else "grown"
        trials, snapshots = [], None
        changes = plan
        if how == "anew":
            plan, snapshots = scratch, Snapshots(output, wish.key(rows, dba)) if dba is None else None
            if snapshots is not None and snapshots.choice is not None:
                choice, trials = snapshots.choice, snapshots.trials
            else:
                choice, trials = wish.planned(rows)
            if old is not None:  # the reason may be the kind, which is known only now
                reason = why_rebuild(old, changes, choice, wish.factory, wish.seed, rows, dba) or reason
        job = Job(
            output,
            rows,
            plan,
            choice,
            how,
            wish.seed,
            wish.target,
            wish.max_memory,
            dba,
            graph,
            progress,
            trials,
            snapshots,
        )
        index = job.run(old)
        resumed = None if snapshots is None else snapshots.resumed
        return _report(index, plan, changed=True, reason=reason, resumed=resumed, trials=trials)


def _unchanged(old: Index, plan: Plan, target: float, graph: int) -> bool:
    was = old.about
    roots = [writing.place(root.absolute, old.path) for root in plan.roots]
    moved = [root["absolute"] for root in roots] != [root["absolute"] for root in was["roots"]]
    wishes = was["recall"]["target"] == target and (was.get("graph") or 0) == graph
    return wishes and not (len(plan.new) or plan.removed or moved)


def _report(
    index: Index,
    plan: Plan,
    *,
    changed: bool,
    reason: str | None,
    resumed: int | None = None,
    trials: Sequence[dict[str, Any]] = (),
) -> IndexReport:
    about = index.about
    return IndexReport(
        path=index.path,
        changed=changed,
        rebuilt_because=reason,
        count=index.count,
        dead=len(index.deleted),
        added=len(plan.new),
        removed=plan.removed,
        kept=plan.kept,
        kind=about["kind"],
        factory=about["factory"],
        why=about["why"],
        parameters=about["parameters"],
        recall=about["recall"],
        whitening=about["whitening"],
        dba=dba_of(about),
        graph=about.get("graph"),
        tail=about.get("tail", 0),
        resumed=resumed,
        trials=list(trials),
    )
