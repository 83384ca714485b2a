from __future__ import annotations

import subprocess
import sys

import pytest

from imgret.errors import IndexFileError, UnknownNameError
from imgret.indexes import kinds
from imgret.indexes.kinds import INDEX_KINDS, choose, code_size, lists, parse_memory


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GB", 4_000_000_000),
        ("512 MiB", 512 * 2**20),
        ("1.5g", 1_500_000_000),
        ("1000000", 1_000_000),
        ("2kB", 2000),
        (".5MB", 500_000),
        ("10 bytes"[:4], 10),
    ],
)
def test_memory_is_read_in_the_units_people_write(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "lots", "4XB", "-1GB", "0", "4 iB", "1e9"])
def test_what_is_no_amount_of_memory_is_refused_with_an_example(text):
    with pytest.raises(IndexFileError, match="4GB"):
        parse_memory(text)


def test_auto_is_exact_while_that_is_quick():
    assert choose(100_000, 512, 10**10).kind == "flat"


def test_auto_takes_lists_when_exact_search_is_slow_and_codes_when_memory_is_short():
    large = choose(1_000_000, 512, 10**10)
    assert (large.kind, large.factory) == ("ivf", "IVF2048,Flat")
    small = choose(1_000_000, 512, 200_000_000)
    assert (small.kind, small.factory) == ("ivfpq", "IVF2048,PQ64np")
    assert "do not fit" in small.why


def test_a_small_collection_that_does_not_fit_becomes_codes():
    assert choose(10_000, 512, 1_000_000).kind == "ivfpq"  # flat would need 20 MB


def test_an_impossible_budget_is_refused_naming_one_that_works():
    with pytest.raises(IndexFileError, match=r"--kind ivfpq --max-memory 72MB") as refusal:
        choose(1_000_000, 512, 50_000_000)  # 1,000,000 x (64 bytes of code + 8 of number) = 72 MB
    assert choose(1_000_000, 512, parse_memory("72MB"), "ivfpq").kind == "ivfpq"
    assert "\n" not in str(refusal.value)


def test_a_kind_asked_for_by_name_must_fit_too():
    with pytest.raises(IndexFileError, match="--kind flat --max-memory 2048MB"):
        choose(1_000_000, 512, 10**9, "flat")


def test_an_unknown_kind_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean hnsw"):
        choose(10, 16, None, "hsnw")


def test_codes_need_256_vectors():
    with pytest.raises(IndexFileError, match="--kind flat"):
        choose(255, 16, None, "ivfpq")


def test_lists_shrink_with_the_collection_so_that_each_can_be_learnt():
    assert [lists(count) for count in (1, 100, 2000, 1_000_000, 10**8)] == [1, 2, 32, 2048, 4096]


def test_code_size_divides_the_dimension():
    for dim in (1, 7, 16, 96, 512, 2048):
        assert dim % code_size(dim) == 0
        assert code_size(dim) <= 128


def test_the_default_budget_is_half_of_the_memory(monkeypatch):
    monkeypatch.setattr(kinds, "physical_memory", lambda: 100_000)
    with pytest.raises(IndexFileError, match="budget is 50 kB"):
        choose(10_000, 64)


def test_the_table_imports_nothing_heavy():
    code = "import sys, imgret.indexes as i; i.INDEX_KINDS, i.choose; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"faiss", "numpy", "h5py"}.isdisjoint(done.stdout.split())


def test_every_kind_has_a_summary_and_a_factory():
    for row in INDEX_KINDS.values():
        assert row.summary
        assert "{" not in row.factory(1000, 64)
