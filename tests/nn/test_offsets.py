"""The table of relative offsets against values that can be checked by hand."""

import pytest
import torch

from imgret.nn.offsets import RelativeOffsets


def make(reach, values=None, interpolated=False):
    offsets = RelativeOffsets(reach, 1, interpolated=interpolated).double()
    with torch.no_grad():
        offsets.table.copy_(torch.tensor(values or list(range(1, 2 * reach)), dtype=torch.float64)[:, None])
    return offsets


def test_the_offset_is_source_minus_target_and_far_ones_are_zero():
    # Rows are offsets -1, 0, 1. Target 0 sees source 1 at offset +1 (30) and source 2 at +2, beyond the table.
    # Clipping would put 30 and 10 where the zeros are.
    assert make(2, [10, 20, 30])(3).squeeze(2).tolist() == [[20, 30, 0], [10, 20, 30], [0, 10, 20]]


def test_a_longer_table_is_cut_to_the_offsets_that_occur():
    # Rows 1..5 are offsets -2..2; two cells know -1, 0, 1 only.
    assert make(3)(2).squeeze(2).tolist() == [[3, 4], [2, 3]]
    assert make(3)(1).squeeze(2).tolist() == [[3]]


@pytest.mark.parametrize("interpolated", [False, True])
def test_an_axis_of_the_tables_length_uses_every_row_as_it_is(interpolated):
    # Offset t - i is row t - i + 2 of 1..5; with rows for one sign only, half of this would be missing.
    assert make(3, interpolated=interpolated)(3).squeeze(2).tolist() == [[3, 4, 5], [2, 3, 4], [1, 2, 3]]


def test_interpolation_stretches_the_table_over_a_longer_axis_and_stops_at_its_ends():
    # Four cells, reach 2: offset delta is looked up at delta / 2, so -3 .. 3 is -1.5 .. 1.5, clamped to -1 .. 1.
    rows = make(2, [10, 20, 40], interpolated=True).rows(4).squeeze(1)
    assert rows.tolist() == [10, 10, 15, 20, 30, 40, 40]


def test_interpolation_squeezes_the_table_into_a_shorter_axis():
    # Two cells, reach 4: offsets -1, 0, 1 are looked up at -2, 0, 2; row 4 of 1..7 is offset 0.
    assert make(4, interpolated=True).rows(2).squeeze(1).tolist() == [2, 4, 6]
    # Four cells, reach 3: offset 1 is looked up at 3/4, between rows 3 and 4 of 1..5.
    assert make(3, interpolated=True).rows(4).squeeze(1).tolist() == [1, 1.5, 2.25, 3, 3.75, 4.5, 5]


@pytest.mark.parametrize("interpolated", [False, True])
@pytest.mark.parametrize("side", [1, 2, 3, 7])
def test_gradients_are_those_of_the_function(interpolated, side):
    offsets = make(3, interpolated=interpolated)

    def run(table):
        return torch.func.functional_call(offsets, {"table": table}, (side,))

    assert torch.autograd.gradcheck(run, (torch.randn(5, 2, dtype=torch.float64, requires_grad=True),))


@pytest.mark.parametrize("interpolated", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_embeddings_have_the_dtype_of_the_table(interpolated, dtype):
    embeddings = RelativeOffsets(4, 3, interpolated=interpolated).to(dtype)(9)
    assert embeddings.shape == (9, 9, 3)
    assert embeddings.dtype == dtype
    assert embeddings.isfinite().all()


def test_the_table_starts_with_the_deviation_asked_for():
    table = RelativeOffsets(128, 64, std=0.125).table
    assert table.shape == (255, 64)
    assert table.std().item() == pytest.approx(0.125, rel=0.05)
    assert table.mean().item() == pytest.approx(0, abs=0.01)


def test_a_table_without_rows_is_a_callers_mistake():
    with pytest.raises(ValueError, match="reach must be at least 1, got 0"):
        RelativeOffsets(0, 4)
