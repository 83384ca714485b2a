"""What parts found, as one ranking."""

from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from imgret.ids import IdTable
from imgret.indexes.parts.merging import Found, merged


def found(hits: list[tuple[float, bytes]], start: int, width: int) -> Found:
    """One query's best `width` of (score, id) pairs, whose rows are numbered from `start`."""
    order = sorted(range(len(hits)), key=lambda row: (-hits[row][0], hits[row][1]))[:width]
    rows, scores = np.full((1, width), -1), np.full((1, width), -np.inf, np.float32)
    rows[0, : len(order)] = order
    scores[0, : len(order)] = [hits[row][0] for row in order]
    return Found.of(rows, scores, IdTable.of([name for _, name in hits])).moved(start)


def lines(of: Found) -> list[list[tuple[float, bytes]]]:
    ids = dict(zip(of.known.tolist(), of.ids.iter_raw(), strict=True))
    return [
        [(score, ids[row]) for row, score in zip(*line, strict=True) if row >= 0]
        for line in zip(of.rows.tolist(), of.scores.tolist(), strict=True)
    ]


def test_the_highest_score_comes_first_and_equal_ones_in_order_of_their_id_bytes():
    one = found([(0.5, b"b"), (0.25, b"z")], 0, 2)
    other = found([(0.5, b"a"), (0.75, b"\xff")], 2, 2)
    best = merged([one, other], 3)
    assert lines(best) == [[(0.75, b"\xff"), (0.5, b"a"), (0.5, b"b")]]
    assert best.rows.tolist() == [[3, 2, 0]]  # \xff is row 1 of the second part, which begins at 2
    assert best.known.tolist() == [0, 2, 3]  # z was beaten and is forgotten


_HITS = st.lists(st.tuples(st.sampled_from([-0.5, 0.0, 0.25, 0.5, 1.0]), st.binary(max_size=2)), max_size=8)


@given(st.lists(_HITS, min_size=1, max_size=4), st.integers(1, 10))
def test_merging_is_sorting_everything_and_taking_the_first(parts, k):
    parts = [[(score, bytes([number]) + name) for score, name in hits] for number, hits in enumerate(parts)]
    parts = [list({name: (score, name) for score, name in hits}.values()) for hits in parts]
    starts = np.cumsum([0, *map(len, parts)]).tolist()
    each = [found(hits, start, k) for hits, start in zip(parts, starts, strict=False)]
    wanted = sorted((hit for hits in parts for hit in hits), key=lambda hit: (-hit[0], hit[1]))[:k]
    assert lines(merged(each, k)) == [wanted]
    in_steps = each[-1]  # as parts answer, in any order
    for one in each[-2::-1]:
        in_steps = merged([one, in_steps], k)
    assert lines(merged([in_steps], k)) == [wanted]


def test_what_a_part_found_can_be_sent_to_another_process():
    one = found([(0.5, b"b"), (0.25, b"z")], 7, 3)
    there = pickle.loads(pickle.dumps(one))
    assert lines(there) == lines(one)
    assert there.rows.tolist() == [[7, 8, -1]]
