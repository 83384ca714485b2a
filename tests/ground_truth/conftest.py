"""Small copies of published layouts: empty files where images would be, since ground truths never open them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from imgret.ground_truth.judgements import GroundTruth


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """put({"a/b.txt": "text", "c.jpg": ""}) makes the files below tmp_path; the answer is tmp_path."""

    def one(files: dict[str, str | bytes]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path

    return one


@pytest.fixture
def answers() -> Callable[..., dict[str, list[str]]]:
    """answers(truth): query -> names of its positives, for the queries of a subset; of its junk with junk=True."""

    def one(truth: GroundTruth, subset: str = "all", junk: bool = False) -> dict[str, list[str]]:
        judged = {query.name: truth.judge(number, subset) for number, query in enumerate(truth.queries)}
        return {
            name: [truth.database[row] for row in (judgement.junk if junk else judgement.positives)]
            for name, judgement in judged.items()
            if judgement is not None
        }

    return one
