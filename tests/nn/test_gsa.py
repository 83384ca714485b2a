"""Global self-attention against loops written from the equations, one number at a time."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from imgret.nn.gsa import AxialPositionalAttention, ContentAttention, GlobalSelfAttention, split_heads
from tests.nn.seen import Seen

CHANNELS, WIDTH, HEADS = 3, 4, 2
ALL = [(r, o, n, p) for r in (2, 5, 7) for o in ("absolute", "interpolated") for n in (False, True) for p in ("both",)]
ALL += [(3, "absolute", True, part) for part in ("content", "position")]


def off_start(module):
    """In float64 and eval mode, every parameter and statistic random, variances positive."""
    module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
    return module


def make(reach=5, offsets="absolute", pos_norm=False, parts="both"):
    torch.manual_seed(7)
    return off_start(GlobalSelfAttention(CHANNELS, reach, WIDTH, HEADS, offsets, pos_norm, parts))


def make_position(reach=5, **options):
    torch.manual_seed(7)
    return off_start(AxialPositionalAttention(WIDTH, reach, HEADS, **options))


def maps(channels=WIDTH, batch=2, height=3, width=5):
    return torch.randn(batch, channels, height, width, dtype=torch.float64)


def project(conv, x):
    """A 1x1 convolution of one image: [c][h][w] lists."""
    weight = conv.weight.flatten(1).tolist()
    c, h, w = x.shape
    return [[[sum(row[k] * x[k, i, j].item() for k in range(c)) for j in range(w)] for i in range(h)] for row in weight]


def slow_content(q, k, v):
    """C of one image, q, k, v as [w][H][W] lists."""
    H, W, d = len(q[0]), len(q[0][0]), WIDTH // HEADS
    places = [(i, j) for i in range(H) for j in range(W)]
    out = torch.zeros(WIDTH, H, W, dtype=torch.float64)
    for e in range(WIDTH):
        first = e // d * d  # the channels of e's head are first .. first + d - 1
        for c in range(first, first + d):
            total = sum(math.exp(k[c][i][j]) for i, j in places)
            seen = sum(math.exp(k[c][i][j]) / total * v[e][i][j] for i, j in places)
            for i, j in places:
                out[e, i, j] += q[c][i][j] * seen
    return out


def embedding(offsets, delta, side):
    """The embedding of one offset, a list of d numbers."""
    table, reach = offsets.table.tolist(), offsets.reach
    if not offsets.interpolated:
        return table[delta + reach - 1] if abs(delta) <= reach - 1 else [0.0] * len(table[0])
    place = min(max(delta * reach / side, 1 - reach), reach - 1) + reach - 1
    low = min(math.floor(place), 2 * reach - 2)
    high = min(low + 1, 2 * reach - 2)
    return [a + (place - low) * (b - a) for a, b in zip(table[low], table[high], strict=True)]


def slow_axis(q, v, offsets, norm, vertical):
    """The column-only (vertical) or row-only layer of one image."""
    H, W, d = len(q[0]), len(q[0][0]), WIDTH // HEADS
    side = H if vertical else W
    out = torch.zeros(WIDTH, H, W, dtype=torch.float64)
    for e in range(WIDTH):
        first = e // d * d
        for i in range(H):
            for j in range(W):
                for t in range(side):
                    known = embedding(offsets, t - (i if vertical else j), side)
                    logit = sum(q[first + c][i][j] * known[c] for c in range(d))
                    out[e, i, j] += logit * (v[e][t][j] if vertical else v[e][i][t]) / (side if norm else 1)
    return out


def slow_position(position, q, v):
    """Columns, batch norm with the running statistics, rows."""
    columns = slow_axis(q, v, position.column, position.pos_norm, vertical=True)
    norm = position.norm
    for e in range(WIDTH):
        scale = norm.weight[e].item() / math.sqrt(norm.running_var[e].item() + norm.eps)
        columns[e] = (columns[e] - norm.running_mean[e].item()) * scale + norm.bias[e].item()
    return slow_axis(q, columns.tolist(), position.row, position.pos_norm, vertical=False)


def slow(module, x):
    """The module of one image [c, H, W]."""
    q, v = project(module.query, x), project(module.value, x)
    out = torch.zeros(WIDTH, *x.shape[1:], dtype=torch.float64)
    if module.key is not None:
        out += slow_content(q, project(module.key, x), v)
    if module.position is not None:
        out += slow_position(module.position, q, v)
    return out


def columns_of(position, q, v, table="column"):
    """The column layer of maps [B, w, H, W], as a map."""
    q, v = split_heads(q, HEADS), split_heads(v, HEADS)
    return position.along_columns(q, v, getattr(position, table)).flatten(3).permute(0, 3, 1, 2)


def heads_of(x):
    return x.unflatten(1, (HEADS, -1))  # [B, n, d, H, W]


@pytest.mark.parametrize(("reach", "offsets", "pos_norm", "parts"), ALL)
@pytest.mark.parametrize("batch", [1, 2])
def test_the_module_is_what_its_equations_say(reach, offsets, pos_norm, parts, batch):
    module, x = make(reach, offsets, pos_norm, parts), maps(CHANNELS, batch)
    with torch.no_grad():
        expected = torch.stack([slow(module, image) for image in x])
        torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("layout", ["channels_last", "every other channel", "columns first", "reversed batch"])
def test_memory_layout_does_not_change_the_module(layout):
    module, x = make(), maps(CHANNELS)
    other = {
        "channels_last": lambda: x.to(memory_format=torch.channels_last),
        "every other channel": lambda: torch.zeros(2, 2 * CHANNELS, 3, 5, dtype=torch.float64)[:, ::2].copy_(x),
        "columns first": lambda: x.mT.contiguous().mT,
        "reversed batch": lambda: x.flip(0).transpose(0, 1).contiguous().transpose(0, 1).flip(0),
    }[layout]()
    assert torch.equal(other, x)
    with torch.no_grad():
        expected = torch.stack([slow(module, image) for image in x])
        torch.testing.assert_close(module(other), expected, rtol=0, atol=1e-10)


def test_the_result_is_channels_last_for_the_convolution_that_follows():
    x = maps(CHANNELS).to(memory_format=torch.channels_last)
    for parts in ("both", "content", "position"):
        assert make(parts=parts)(x).is_contiguous(memory_format=torch.channels_last), parts


@pytest.mark.parametrize(("offsets", "pos_norm"), [("absolute", False), ("interpolated", True)])
def test_gradients_are_those_of_the_function(offsets, pos_norm):
    module = make(2, offsets, pos_norm)
    names, values = zip(*module.named_parameters(), strict=True)

    def run(x, *parameters):
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (maps(CHANNELS, 1, 2, 3).requires_grad_(), *values))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (9, 2)])
def test_a_map_may_have_any_sides(size):
    for offsets in ("absolute", "interpolated"):
        module, x = make(3, offsets), maps(CHANNELS, 1, *size)
        with torch.no_grad():
            torch.testing.assert_close(module(x)[0], slow(module, x[0]), rtol=0, atol=1e-10)


# The content branch


def test_each_key_channel_is_a_softmax_over_pixels_and_over_nothing_else():
    attention = ContentAttention.attention(maps())
    torch.testing.assert_close(attention.sum((2, 3)), torch.ones(2, WIDTH, dtype=torch.float64))
    assert (attention.sum(1) - 1).abs().min() > 1e-3  # over channels they do not sum to 1
    assert (attention.sum(2) - 1).abs().min() > 1e-3  # nor over a column


def test_constant_keys_give_every_pixel_the_mean_value():
    q, v = maps(), maps()
    content = ContentAttention(HEADS)(q, torch.full_like(q, 0.3), v)
    # A = 1 / HW, so G[d, e] = mean(V_e) for every d, and C_e = (sum of the head's queries) mean(V_e).
    expected = heads_of(q).sum(2, keepdim=True) * heads_of(v).mean((3, 4), keepdim=True)
    torch.testing.assert_close(content, expected.flatten(1, 2), rtol=0, atol=1e-12)


def test_the_content_branch_follows_any_permutation_of_the_pixels():
    order = torch.randperm(15)

    def shuffled(x):
        return x.flatten(2)[:, :, order].unflatten(2, (3, 5))

    content, (q, k, v) = ContentAttention(HEADS), (maps(), maps(), maps())
    moved = content(*map(shuffled, (q, k, v)))
    torch.testing.assert_close(moved, shuffled(content(q, k, v)), rtol=0, atol=1e-12)


def test_queries_have_no_softmax_and_no_scale():
    content, (q, k, v) = ContentAttention(HEADS), (maps(), maps(), maps())
    torch.testing.assert_close(content(3 * q, k, v), 3 * content(q, k, v))
    # A softmax over channels would not see a shift of all of them.
    assert (content(q + 1, k, v) - content(q, k, v)).abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_thousand_weights_keep_their_mass_in_half_precision(dtype):
    key = torch.randn(1, 8, 128, 128).to(dtype)  # 16,384 pixels
    ones = torch.ones_like(key)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        attention = ContentAttention.attention(key)
        content = ContentAttention(2)(ones, key, ones)
    assert attention.dtype == torch.float32
    torch.testing.assert_close(attention.sum((2, 3)), torch.ones(1, 8), rtol=0, atol=1e-5)
    # Each of the head's 4 key channels sees a mean of ones, which is 1.
    torch.testing.assert_close(content.float(), torch.full((1, 8, 128, 128), 4.0), rtol=0, atol=1e-5)


def test_the_context_is_summed_with_weights_in_float32():
    # 120 * 136 = 16,320: 1 / 16,320 is 2^-14 * 1.0039, in the middle between two bfloat16 numbers. Rounded, it
    # would be 0.4 % off, and the mean of 255/128 would be 254/128 or 2, both of which bfloat16 can tell apart.
    key = torch.zeros(1, 2, 120, 136, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        content = ContentAttention(2)(key + 1, key, key + 255 / 128)
    assert content.float().eq(255 / 128).all()


# The positional branch


def test_a_column_layer_can_be_checked_by_hand():
    position = AxialPositionalAttention(1, reach=2, heads=1).double()
    with torch.no_grad():
        position.column.table.copy_(torch.tensor([[10.0], [20.0], [30.0]]))  # above, here, below
    q = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).view(1, 1, 3, 1)
    v = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64).view(1, 1, 3, 1)
    # 1 (20 * 1 + 30 * 10), 2 (10 * 1 + 20 * 10 + 30 * 100), 3 (10 * 10 + 20 * 100)
    q, v = split_heads(q, 1), split_heads(v, 1)
    assert position.along_columns(q, v, position.column).flatten().tolist() == [320, 6420, 6300]


def test_zero_embeddings_leave_nothing_of_position():
    position = make_position()
    with torch.no_grad():
        position.row.table.zero_()
    assert position(maps(), maps()).eq(0).all()


def test_offsets_of_both_signs_are_read():
    q, v = maps(), maps()
    for offsets in ("column", "row"):
        for half in (slice(0, 4), slice(5, 9)):  # -4 .. -1 and 1 .. 4 of the 9 rows
            position = make_position()
            before = position(q, v)
            with torch.no_grad():
                getattr(position, offsets).table[half].zero_()
            assert (position(q, v) - before).abs().max() > 0.01


def test_columns_come_before_rows():
    position, q, v = make_position(), maps(height=4, width=4), maps(height=4, width=4)
    out = position(q, v)
    # The other order: columns of the transposed map are rows, read with the row's own table.
    position.column, position.row = position.row, position.column
    assert (position(q.mT, v.mT).mT - out).abs().max() > 0.01


def test_offsets_beyond_the_reach_contribute_nothing():
    short, q, v = make_position(2), maps(height=6, width=7), maps(height=6, width=7)
    long = make_position(7)
    with torch.no_grad():
        for offsets in ("column", "row"):
            table = getattr(long, offsets).table.zero_()
            table[5:8] = getattr(short, offsets).table  # offsets -1, 0, 1 of -6 .. 6
        long.norm.load_state_dict(short.norm.state_dict())
        torch.testing.assert_close(short(q, v), long(q, v), rtol=0, atol=1e-12)
        clipped = make_position(7)
        for offsets in ("column", "row"):
            table, known = getattr(clipped, offsets).table, getattr(short, offsets).table
            table[:6], table[6], table[7:] = known[0], known[1], known[2]
        clipped.norm.load_state_dict(short.norm.state_dict())
        assert (short(q, v) - clipped(q, v)).abs().max() > 0.01


def test_a_shift_inside_zero_padding_shifts_the_output():
    position = make_position(9)
    with torch.no_grad():
        position.norm.bias.zero_()  # so that nothing stays nothing
        position.norm.running_mean.zero_()
    q, v = torch.zeros(2, 1, WIDTH, 8, 9, dtype=torch.float64)
    q[:, :, 1:4, 1:5], v[:, :, 1:4, 1:5] = maps(batch=1, height=3, width=4), maps(batch=1, height=3, width=4)

    def moved(x):
        return x.roll((3, 2), (2, 3))

    with torch.no_grad():
        torch.testing.assert_close(position(moved(q), moved(v)), moved(position(q, v)), rtol=0, atol=1e-12)


def test_batch_norm_has_its_own_statistics_for_every_channel():
    position, q, v = make_position().train(), maps(), maps()
    columns = columns_of(position, q, v)
    weight, bias = position.norm.weight.view(-1, 1, 1), position.norm.bias.view(-1, 1, 1)

    def rest(normalised):
        return columns_of(position, q.mT, (normalised * weight + bias).mT, "row").mT

    each = F.batch_norm(columns, None, None, training=True)
    # One set of statistics for all heads, as if they were more images of d channels each.
    shared = F.batch_norm(columns.unflatten(1, (HEADS, -1)).flatten(0, 1), None, None, training=True)
    torch.testing.assert_close(position(q, v), rest(each), rtol=0, atol=1e-10)
    assert (position(q, v) - rest(shared.unflatten(0, (2, HEADS)).flatten(1, 2))).abs().max() > 0.01


def test_position_norm_keeps_the_sums_from_growing_with_the_map():
    def spread(side, pos_norm):
        torch.manual_seed(0)
        position = AxialPositionalAttention(64, 64, 1, pos_norm=pos_norm).eval()
        q, v = torch.randn(2, 1, side, side, 1, 64)  # one head
        return position.along_columns(q, v, position.column).std().item()

    # On 4 times the side, sums of random signs grow by sqrt(4) without the norm and shrink by as much with it.
    assert spread(64, False) / spread(16, False) == pytest.approx(2, rel=0.1)
    assert spread(64, True) / spread(16, True) == pytest.approx(1 / 2, rel=0.1)
    # Logits start with deviation 1, so 64 of them make 8; sqrt(64) times larger and divided by 64, they make 1.
    assert spread(64, False) == pytest.approx(8, rel=0.1)
    assert spread(64, True) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize(("pos_norm", "std"), [(False, 0.125), (True, 1.0)])
def test_embeddings_start_with_the_documented_deviation(pos_norm, std):
    # (512 / 8)^-0.5 = 1 / 8; with pos_norm times sqrt(64)
    position = AxialPositionalAttention(512, 64, 8, pos_norm=pos_norm)
    for offsets in (position.column, position.row):
        assert offsets.table.std().item() == pytest.approx(std, rel=0.03)


# Size, cost, precision


@pytest.mark.parametrize(("width", "heads", "used"), [(48, 8, 8), (36, 8, 4), (5, 8, 1)])
def test_heads_are_lowered_to_a_divisor_of_the_width(width, heads, used):
    module = GlobalSelfAttention(6, 3, width, heads)
    assert module.content.heads == module.position.heads == used
    assert module.position.column.table.shape == (5, width // used)
    assert module(torch.rand(1, 6, 3, 4)).shape == (1, width, 3, 4)


@pytest.mark.parametrize(
    ("w", "n", "reach", "size"), [(64, 8, 56, (56, 56)), (128, 8, 14, (6, 14)), (512, 1, 9, (5, 9))]
)
def test_size_and_cost_are_the_closed_formula(w, n, reach, size):
    module, (H, W) = GlobalSelfAttention(w, reach, heads=n).eval(), size
    assert sum(p.numel() for p in module.parameters()) == 3 * w**2 + 2 * (2 * reach - 1) * w // n + 2 * w
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        module(torch.rand(1, w, H, W))
    # Multiply-adds for each pixel: Q, K, V; context and its use; logits and their use for both axes.
    assert counter.get_total_flops() == 2 * H * W * (3 * w**2 + 2 * w**2 // n + 2 * (H + W) * w)


def test_nothing_of_pixels_by_pixels_is_made():
    with Seen() as seen, torch.no_grad():
        GlobalSelfAttention(4, 24, heads=2)(torch.rand(1, 4, 24, 20))
    assert seen.largest == 2 * 24 * 20 * 24  # the column's logits: n HW H, against HW HW = 230,400


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_module_turned_to_half_precision_gives_nearly_the_same(dtype):
    torch.manual_seed(0)
    module, x = GlobalSelfAttention(16, 9, heads=4, pos_norm=True).eval(), torch.rand(2, 16, 7, 9)
    with torch.no_grad():
        exact = module(x)
        rough = module.to(dtype)(x.to(dtype))
    assert rough.dtype == dtype
    assert F.cosine_similarity(exact.flatten(1), rough.float().flatten(1)).min() > 0.999


def test_autocast_gives_nearly_the_same():
    torch.manual_seed(0)
    module, x = GlobalSelfAttention(16, 9, heads=4).eval(), torch.rand(2, 16, 7, 9)
    with torch.no_grad():
        exact = module(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = module(x)
    assert F.cosine_similarity(exact.flatten(1), rough.float().flatten(1)).min() > 0.999


@pytest.mark.parametrize("offsets", ["absolute", "interpolated"])
def test_the_module_can_be_exported(offsets):
    module, x = make(4, offsets), maps(CHANNELS)
    with torch.no_grad():
        torch.testing.assert_close(torch.export.export(module, (x,)).module()(x), module(x))


@pytest.mark.slow
@pytest.mark.parametrize("offsets", ["absolute", "interpolated"])
def test_one_compiled_module_serves_maps_of_any_size(offsets):
    module = make(4, offsets)
    compiled = torch.compile(module, fullgraph=True, backend="eager", dynamic=True)
    with torch.no_grad():
        for size in ((3, 5), (6, 2)):
            x = maps(CHANNELS, 2, *size)
            torch.testing.assert_close(compiled(x), module(x))


@pytest.mark.parametrize("option", ["offsets", "parts"])
def test_an_unknown_word_is_a_callers_mistake(option):
    with pytest.raises(ValueError, match=f"{option} must be one of .*, got 'all'"):
        GlobalSelfAttention(4, 3, **{option: "all"})
