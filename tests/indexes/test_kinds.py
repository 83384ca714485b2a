from __future__ import annotations

import subprocess
import sys

import pytest

from imgret.errors import IndexFileError, UnknownNameError
from imgret.indexes import kinds
from imgret.indexes.kinds import INDEX_KINDS, bits, choose, fitting, lists, parse_memory, parts
from imgret.indexes.writing import write_faiss
from tests.indexes.conftest import clustered


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


def test_without_a_sample_auto_takes_lists_and_shorter_codes_as_memory_gets_short():
    large = choose(1_000_000, 512, 10**10)
    assert (large.kind, large.factory) == ("ivf", "IVF2048,Flat")
    assert choose(1_000_000, 512, 10**9).kind == "ivfsq8"
    small = choose(1_000_000, 512, 100_000_000)
    assert (small.kind, small.factory) == ("ivfpq", "RR512,IVF2048,PQ128x4fs")
    assert "do not fit" in small.why


def test_a_small_collection_that_does_not_fit_becomes_codes():
    # 10,000 x 512: flat 20.5 MB, fp16 10.2, sq8 5.1; a bit a dimension and two factors: 72 bytes each, 0.72 MB, and
    # 512 x 512 x 4 = 1.05 MB for the rotation before it
    chosen = [choose(10_000, 512, budget).kind for budget in (21_000_000, 11_000_000, 6_000_000, 1_800_000)]
    assert chosen == ["flat", "fp16", "sq8", "rabitq"]


def test_an_impossible_budget_is_refused_naming_one_that_works():
    with pytest.raises(IndexFileError, match=r"--kind rabitq --max-memory 74MB") as refusal:
        choose(1_000_000, 512, 50_000_000)  # 1,000,000 x (512 bits + two factors of 4 bytes) = 72 MB, a rotation 1
    assert choose(1_000_000, 512, parse_memory("74MB"), "rabitq").kind == "rabitq"
    assert choose(1_000_000, 512, parse_memory("74MB")).kind == "rabitq"
    assert "\n" not in str(refusal.value)


def test_an_impossible_budget_is_refused_before_any_vector_is_looked_at():
    # 10^12 vectors are in no sample: the answer comes from the formulas.
    with pytest.raises(IndexFileError, match="The nearest budget that works: --kind"):
        fitting(10**12, 2048, 4 * 10**9)


@pytest.mark.parametrize("dim", [64, 200])
@pytest.mark.parametrize("kind", INDEX_KINDS)
def test_the_memory_a_kind_says_it_takes_is_what_faiss_writes(tmp_path, kind, dim):
    from imgret.indexes.structure import create

    row, count = INDEX_KINDS[kind], 6000
    vectors = clustered(count, dim)
    index = create(row.factory(count, dim), dim, 0)
    index.train(vectors)
    index.add(vectors)
    write_faiss(tmp_path / "index.faiss", index)
    assert row.memory(count, dim) == pytest.approx((tmp_path / "index.faiss").stat().st_size, rel=0.04)


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


def test_the_parts_of_a_code_divide_the_dimension():
    for dim in (1, 7, 16, 96, 512, 2048):
        assert dim % parts(dim) == 0
    assert [parts(dim) for dim in (1, 7, 16, 96, 512, 2048)] == [1, 7, 16, 24, 128, 256]


def test_a_bit_a_dimension_and_two_factors():
    assert [bits(dim) for dim in (1, 8, 9, 512)] == [9, 9, 10, 72]


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


def test_a_prime_dimension_is_not_advised_codes_of_one_part():
    from imgret.indexes import kinds

    assert "ivfpq" not in kinds.fitting(3000, 127, 10**9)  # parts(127) is 1, fewer than 127 / 16
    assert "ivfpq" in kinds.fitting(3000, 128, 10**9)
