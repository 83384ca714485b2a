"""The class token's attention against loops, and against the layers of timm that it is read from."""

import math

import pytest
import timm
import torch

from imgret.nn.class_attention import attention_weights, class_attention, is_plain

QUERY_AND_KEY_NORMS = [False, True]


def layer(qk_norm=False):
    """timm's own attention: 64 channels, 2 heads or more, of a randomly started block."""
    torch.manual_seed(7)
    attention = timm.create_model("test_vit", qk_norm=qk_norm).blocks[-1].attn.double().eval()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.normal_(std=0.3)
    return attention


def tokens(batch=2, count=7):
    return torch.randn(batch, count, 64, dtype=torch.float64)


def slow(attention, x):
    """softmax(q k^T / sqrt(d)) of one image's tokens [N, D], head by head: [heads][N][N]."""
    weight, bias, heads = attention.qkv.weight.tolist(), attention.qkv.bias.tolist(), attention.num_heads
    width = len(x[0])
    d = width // heads

    def projected(token, first):  # rows `first` to first + d of the joint layer
        return [bias[r] + sum(a * b for a, b in zip(weight[r], token, strict=True)) for r in range(first, first + d)]

    result = []
    for head in range(heads):
        queries = [projected(token, head * d) for token in x.tolist()]
        keys = [projected(token, width + head * d) for token in x.tolist()]
        logits = [[sum(a * b for a, b in zip(q, k, strict=True)) / math.sqrt(d) for k in keys] for q in queries]
        sums = [sum(math.exp(v) for v in row) for row in logits]
        result.append([[math.exp(v) / total for v in row] for row, total in zip(logits, sums, strict=True)])
    return torch.tensor(result, dtype=torch.float64)


@pytest.mark.parametrize("batch", [1, 2])
def test_attention_is_what_its_equation_says(batch):
    attention, x = layer(), tokens(batch)
    with torch.no_grad():
        expected = torch.stack([slow(attention, image) for image in x])
        torch.testing.assert_close(attention_weights(attention, x), expected, rtol=0, atol=1e-10)
        # [B, heads, N, N] -> the class token's row, the patches' columns, the mean of the heads
        patches = expected[:, :, 0, 1:].sum(1) / attention.num_heads
        torch.testing.assert_close(class_attention(attention, x), patches, rtol=0, atol=1e-10)


@pytest.mark.parametrize("qk_norm", QUERY_AND_KEY_NORMS)
def test_the_weights_are_those_timm_itself_uses(qk_norm):
    # Weights times values, projected, is the layer's own output; the wrong axis, scale or head order is not.
    attention, x = layer(qk_norm), tokens()
    with torch.no_grad():
        weights = attention_weights(attention, x)
        values = attention.qkv(x)[..., 2 * 64 :].unflatten(2, (attention.num_heads, -1)).transpose(1, 2)
        mixed = (weights @ values).transpose(1, 2).flatten(2)
        torch.testing.assert_close(attention.proj(mixed), attention(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("qk_norm", QUERY_AND_KEY_NORMS)
def test_the_class_row_alone_is_the_first_row_of_all(qk_norm):
    attention, x = layer(qk_norm), tokens()
    with torch.no_grad():
        every = attention_weights(attention, x)
        torch.testing.assert_close(attention_weights(attention, x, slice(1)), every[:, :, :1], rtol=0, atol=1e-12)


def test_weights_sum_to_1_over_the_keys_and_the_patches_get_what_the_prefix_leaves():
    attention, x = layer(), tokens()
    with torch.no_grad():
        weights = attention_weights(attention, x)
        torch.testing.assert_close(weights.sum(3), torch.ones_like(weights[..., 0]))
        assert (weights.sum(2) - 1).abs().max() > 1e-3  # the other axis would show
        kept = weights[:, :, 0, :3].sum(2).mean(1)  # by the class token and two registers
        torch.testing.assert_close(class_attention(attention, x, prefix=3).sum(1), 1 - kept)


def test_memory_layout_does_not_change_the_weights():
    attention, x = layer(), tokens()
    strided = torch.zeros(2, 14, 64, dtype=torch.float64)[:, ::2].copy_(x)
    for other in (strided, x.mT.contiguous().mT):
        assert not other.is_contiguous()
        torch.testing.assert_close(class_attention(attention, other), class_attention(attention, x), rtol=0, atol=1e-12)


def test_the_gradients_of_class_attention_are_right():
    attention, x = layer(), tokens(1, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: class_attention(attention, x), (x,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_softmax_is_float32_whatever_the_layer(dtype):
    attention, x = layer().to(dtype), tokens().to(dtype)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        weights = class_attention(attention, x)
    assert weights.dtype == torch.float32
    assert weights.isfinite().all()


def test_attention_with_rotary_positions_is_not_plain():
    # It keeps the names of the plain layer, so its weights would be wrong without an error.
    with torch.device("meta"):
        rotary = timm.create_model("vit_small_patch16_dinov3").blocks[-1].attn
    assert hasattr(rotary, "qkv")
    assert not is_plain(rotary)
    assert is_plain(layer())
