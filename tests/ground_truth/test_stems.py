from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imgret.ground_truth.names import stem
from imgret.ground_truth.stems import possible
from imgret.ids import IdTable, from_bytes

LONG = "a-name-of-more-than-eight-letters"
names = st.lists(
    st.one_of(
        st.text("ab./#1,é", min_size=1, max_size=12),
        st.binary(min_size=1, max_size=6).filter(lambda raw: b"\0" not in raw).map(from_bytes),
        st.sampled_from([f"x/{LONG}.jpg", f"{LONG}", f"y/other-{LONG}.png", ".hidden", "a/.b", "a.tar/b.jpg#1,2,3,4"]),
    ),
    unique=True,
    max_size=20,
)


@given(names, names)
def test_no_id_with_a_wanted_stem_is_passed_over(ids, wanted):
    keys = {stem(name) for name in wanted}
    table = IdTable.of(ids)
    found = dict(possible(keys, table))
    assert all(found[row] == ids[row] for row in found)
    assert {row for row, name in enumerate(ids) if stem(name) in keys} <= set(found)


def test_most_other_ids_are_passed_over():
    table = IdTable.of([f"distractors/{number:06d}.jpg" for number in range(10_000)])
    # 000123 alone: six digits and the length tell it from the others
    assert list(possible({"000123"}, table)) == [(123, "distractors/000123.jpg")]


def test_a_plain_list_is_given_whole():
    assert list(possible({"b"}, ["a", "b"])) == [(0, "a"), (1, "b")]
