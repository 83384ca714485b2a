"""Cross attention against loops written from its equation, one token at a time."""

import math

import pytest
import torch

from imgret.nn.cross_attention import CrossAttention, CrossBlock
from tests.nn.seen import Seen

WIDTH, HEADS = 6, 2


def make(kind):
    generator = torch.Generator().manual_seed(7)
    module = kind(WIDTH, HEADS).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(generator=generator)
    return module


def tokens(batch=2, count=4, seed=1):
    return torch.randn(batch, count, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def local(batch=2, height=3, width=5):
    return tokens(batch, height * width, seed=2)


def linear(layer, x):
    bias = [0.0] * layer.out_features if layer.bias is None else layer.bias.tolist()
    rows = zip(layer.weight.tolist(), bias, strict=True)
    return [b + sum(w * v for w, v in zip(row, list(x), strict=True)) for row, b in rows]


def slow_weights(module, queries, context):
    """A[head][i][j] of one image: softmax over j of q_i . k_j / sqrt(d)."""
    size = WIDTH // HEADS
    query = [linear(module.query, x) for x in queries.tolist()]
    key = [linear(module.key, x) for x in context.tolist()]
    weights = []
    for head in range(HEADS):
        part = slice(head * size, (head + 1) * size)
        rows = []
        for q in query:
            row = [math.exp(sum(a * b for a, b in zip(q[part], k[part], strict=True)) / math.sqrt(size)) for k in key]
            rows.append([value / sum(row) for value in row])
        weights.append(rows)
    return weights


def slow(module, queries, context):
    size = WIDTH // HEADS
    value = [linear(module.value, x) for x in context.tolist()]
    weights = slow_weights(module, queries, context)
    out = []
    for i in range(len(queries)):
        joined = [
            sum(weights[c // size][i][j] * value[j][c] for j in range(len(context)))
            for c in range(WIDTH)  # channel c belongs to head c // d
        ]
        out.append(linear(module.merge, joined))
    return torch.tensor(out, dtype=torch.float64)


def norm(layer, x):
    mean = sum(x) / len(x)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in x) / len(x) + layer.eps)
    pairs = zip(x, layer.weight.tolist(), layer.bias.tolist(), strict=True)
    return [(v - mean) / deviation * w + b for v, w, b in pairs]


def slow_block(block, queries, context):
    normed = torch.tensor([norm(block.attention_norm, x) for x in queries.tolist()], dtype=torch.float64)
    middle = queries + slow(block.attention, normed, context)
    out = []
    for x in middle.tolist():
        hidden = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in linear(block.mlp[0], norm(block.mlp_norm, x))]
        out.append([a + b for a, b in zip(x, linear(block.mlp[2], hidden), strict=True)])
    return torch.tensor(out, dtype=torch.float64)


@pytest.mark.parametrize(("kind", "reference"), [(CrossAttention, slow), (CrossBlock, slow_block)])
@pytest.mark.parametrize("batch", [1, 2])
def test_cross_attention_is_what_its_equation_says(kind, reference, batch):
    module, x, context = make(kind), tokens(batch), local(batch)
    with torch.no_grad():
        expected = torch.stack([reference(module, *pair) for pair in zip(x, context, strict=True)])
        torch.testing.assert_close(module(x, context), expected, rtol=0, atol=1e-10)


def test_the_attention_shown_is_the_one_used():
    module, x, context = make(CrossAttention), tokens(), local()
    with torch.no_grad():
        shown = module.attention(x, context)
        weights = [slow_weights(module, *pair) for pair in zip(x, context, strict=True)]
        torch.testing.assert_close(shown, torch.tensor(weights, dtype=torch.float64), rtol=0, atol=1e-10)
        values = module.value(context).unflatten(2, (HEADS, -1)).transpose(1, 2)
        mixed = module.merge((shown @ values).transpose(1, 2).flatten(2))
        torch.testing.assert_close(module(x, context), mixed, rtol=0, atol=1e-12)


def test_attention_sums_to_1_over_the_context_and_not_over_the_tokens():
    attention = make(CrossAttention).attention(tokens(), local())  # [B, heads, 4, 15]
    torch.testing.assert_close(attention.sum(3), torch.ones(2, HEADS, 4, dtype=torch.float64))
    assert (attention.sum(2) - 4 / 15).abs().max() > 1e-3


def test_what_the_context_receives_is_a_mean_over_heads_and_tokens():
    block, x, context = make(CrossBlock), tokens(), local()
    with torch.no_grad():
        weights = block.attention.attention(block.attention_norm(x), context)
        received = sum(weights[:, head, i] for head in range(HEADS) for i in range(4)) / (HEADS * 4)
        torch.testing.assert_close(block.received(x, context), received)


def test_the_length_of_a_context_token_counts():
    # The weights of the local branch are lengths; a layer norm on the context would undo them.
    block, x, context = make(CrossBlock), tokens(), local()
    with torch.no_grad():
        assert (block(x, context * 3) - block(x, context)).abs().max() > 0.1
        torch.testing.assert_close(block.attention_norm(x * 3), block.attention_norm(x), rtol=1e-3, atol=1e-3)


def test_the_order_of_the_context_does_not_count():
    block, x, context = make(CrossBlock), tokens(), local()
    with torch.no_grad():
        torch.testing.assert_close(block(x, context.flip(1)), block(x, context), rtol=0, atol=1e-12)


def test_memory_layout_does_not_change_cross_attention():
    module, x, context = make(CrossAttention), tokens(), local()
    strided = torch.zeros(2, 15, 2 * WIDTH, dtype=torch.float64)[..., ::2].copy_(context)
    for other in (strided, context.mT.contiguous().mT):
        assert not other.is_contiguous()
        torch.testing.assert_close(module(x, other), module(x, context), rtol=0, atol=1e-12)
    torch.testing.assert_close(module(x.mT.contiguous().mT, context), module(x, context), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [CrossAttention, CrossBlock])
def test_the_gradients_of_cross_attention_are_right(kind):
    module = make(kind)
    x, context = tokens(1, 2).requires_grad_(), local(1, 1, 3).requires_grad_()
    names, values = zip(*module.named_parameters(), strict=True)

    def run(x, context, *values):
        return torch.func.functional_call(module, dict(zip(names, values, strict=True)), (x, context))

    assert torch.autograd.gradcheck(run, (x, context, *values))


def test_the_attention_shown_is_float32_under_autocast():
    module, x, context = make(CrossAttention).float(), tokens().float(), local().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        shown = module.attention(x, context)
    assert shown.dtype == torch.float32
    torch.testing.assert_close(shown.sum(3), torch.ones(2, HEADS, 4))  # bfloat16 sums would be off by 1/256


@pytest.mark.parametrize("autocast", [False, True])
def test_cross_attention_never_holds_its_matrix(autocast):
    module, x, context = CrossAttention(8, 2), torch.rand(1, 48, 8), torch.rand(1, 480, 8)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast), Seen() as seen:
        module(x, context)
    assert seen.largest == 480 * 8  # the keys; the matrix would have 2 * 48 * 480 entries
    assert not seen.softmaxes  # inside the fused kernel, which works in float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_nearly_the_same(dtype):
    torch.manual_seed(0)
    block, x, context = CrossBlock(32, 4), torch.randn(2, 4, 32), torch.randn(2, 15, 32)
    with torch.inference_mode():
        exact = block(x, context)
        rough = block.to(dtype)(x.to(dtype), context.to(dtype))
    torch.testing.assert_close(rough.float(), exact, rtol=0.05, atol=0.05)


def test_heads_that_do_not_divide_the_width_are_a_callers_mistake():
    with pytest.raises(ValueError, match="heads must divide the width, got 4 heads for 6 channels"):
        CrossAttention(6, 4)


def test_the_parameters_of_a_block_are_counted():
    with torch.device("meta"):
        block = CrossBlock(512)
    # 12 x 512^2 weights; biases: 3 x 512 (no key bias), 4 x 512 + 512 in the MLP; 4 x 512 in two norms
    assert sum(parameter.numel() for parameter in block.parameters()) == 12 * 512**2 + 12 * 512 == 3_151_872
