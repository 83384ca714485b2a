"""The demo's chain: draw, extract, index, evaluate, search, and a page to look at."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgret.demo import chance
from imgret.demo.draw import SCENES, VIEWS, Collection, draw_collection
from imgret.errors import InputError
from imgret.models import DEFAULT_MODEL

if TYPE_CHECKING:
    from imgret.evaluation.scores import Scores
    from imgret.extraction.extract import Progress
    from imgret.report.rows import Verdict
    from imgret.workflows.searching import Answer

SHOWN = 10
"""Results a query on the page."""
MEASURES = {"map": "mAP", "recall@1": "R@1", "recall@5": "R@5", "mp@5": "mP@5"}


@dataclass(frozen=True)
class DemoReport:
    """What the demo made and reached.

    scores   of every picture asking for the other views of its scene; `chance` is what lots would score
    page     the result page, `seconds` what it all took
    """

    collection: Collection
    store: Path
    index: Path
    page: Path
    scores: Scores
    protocol: Mapping[str, Any]
    chance: Mapping[str, float]
    seconds: float

    @property
    def table(self) -> list[tuple[str, float, float]]:
        """(measure, score, chance), fractions, in the order to show them."""
        reached = self.scores.subsets["all"]
        return [(name, float(reached[key] or 0.0), self.chance[key]) for key, name in MEASURES.items()]


def _quiet(text: str) -> None:
    """Say nothing."""


def run_demo(
    output: Path,
    *,
    scenes: Sequence[str] = tuple(SCENES),
    views: int = VIEWS,
    seed: int = 0,
    device: str = "auto",
    workers: int | None = None,
    offline: bool = False,
    say: Callable[[str], object] = _quiet,
    extracting: Callable[[], AbstractContextManager[Progress | None]] = nullcontext,
) -> DemoReport:
    """Run the whole chain in the folder `output`; what is there already is kept.

    `say` gets a line for every step and, after "$", the command that does the same. Nothing is
    downloaded: the pictures are drawn here, and the model ships with the package. `extracting` opens whatever
    shows the progress of the extraction.
    """
    from imgret import workflows
    from imgret.extraction.job import ExtractJob

    started = time.perf_counter()
    output = Path(output)
    store, index, page = output / "store", output / "index", output / "index.html"
    if output.is_dir() and any(output.iterdir()) and not (output / "collection").is_dir():
        raise InputError(f"{output} holds something else; name a new folder for the demo with -o")

    say(f"1. Drawing {len(scenes)} scenes, {views} views of each, as a telephone would take them.")
    collection = draw_collection(output, scenes=scenes, views=views, seed=seed)
    if not collection.drawn:
        say("   They are there already.")

    say(f"2. Extracting one descriptor a picture with {DEFAULT_MODEL}, the model that ships.")
    say(_command("extract", collection.folder, "-o", store, "--precision", "fp32", "--prune"))
    job = ExtractJob(
        images=(str(collection.folder),),
        output=store,
        precision="fp32",
        device=device,
        workers=workers,
        offline=offline,
        prune=True,
    )
    with extracting() as progress:
        extracted = workflows.extract(job, progress=progress)
    extracted.check(strict=True)

    say("3. Building an index over the descriptors.")
    say(_command("index", store, "-o", index))
    workflows.build_index([store], index)

    say("4. Letting every picture ask for the other views of its scene, and scoring the answers.")
    say(_command("eval", collection.labels, "--index", index))
    options = workflows.QueryOptions(device=device, workers=workers, offline=offline)
    scores, protocol = workflows.evaluate(
        workflows.EvalJob(ground_truth=collection.labels, index=index, options=options)
    )
    others = len(collection.paths) - 1  # the query itself is not in its ranking
    level = chance.expected((line.positives for line in scores.per_query if line.positives), others)

    say("5. Searching with the first view of every scene, and writing a page of the results.")
    say(
        _command("search", index, "-k", SHOWN, "--exclude-self", "--html", output / "results.html")
        + f" {shlex.quote(str(collection.folder))}/*/view-1.jpg"
    )
    queries = [str(collection.folder / scene / "view-1.jpg") for scene in scenes]
    answers = workflows.search(index, queries, k=SHOWN, exclude_self=True, options=options)
    report = DemoReport(collection, store, index, page, scores, protocol, level, time.perf_counter() - started)
    _write_page(report, _named(answers, collection))
    return replace(report, seconds=time.perf_counter() - started)


def _command(*words: object) -> str:
    return "   $ imgret " + " ".join(shlex.quote(str(word)) for word in words)


def _named(answers: Sequence[Answer], collection: Collection) -> list[Answer]:
    """Answers with their queries called as in the collection, whatever folder the demo runs in."""
    ids = {str((collection.folder / path).resolve()): path for path in collection.paths}
    return [
        replace(answer, query=ids.get(str(Path(answer.path).resolve()), answer.query)) if answer.path else answer
        for answer in answers
    ]


def _same_scene(query: str, hit: str) -> Verdict:
    return "positive" if query.partition("/")[0] == hit.partition("/")[0] else "negative"


def _write_page(report: DemoReport, answers: Sequence[Answer]) -> None:
    from imgret.report.page import rows_of, write_page

    made = report.collection
    precision = {line.query: line.ap for line in report.scores.per_query}
    rows = [
        replace(
            row,
            note=f"Average precision {100 * (precision.get(row.query) or 0):.0f} %",
        )
        for row in rows_of(answers, judge=_same_scene)
    ]
    pictures = len(made.paths)
    write_page(
        report.page,
        title="imgret demo",
        subtitle=f"{pictures} pictures of {len(made.scenes)} scenes, drawn on this machine, "
        f"described by {DEFAULT_MODEL}, the model that ships with imgret",
        tiles=[("pictures", str(pictures)), ("scenes", str(len(made.scenes)))]
        + [(f"{name} (chance {100 * lots:.1f} %)", f"{100 * score:.1f} %") for name, score, lots in report.table],
        notes=[
            f"The scores are means over all {pictures} pictures, each asking for the {made.views - 1} other "
            "views of its scene; chance is what a random order would score.",
            "Below are the answers to the first view of each scene.",
        ],
        rows=rows,
    )
