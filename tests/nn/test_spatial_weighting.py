"""Spatial weighting against loops written from its equation, one location at a time."""

import math

import pytest
import torch

from imgret.nn.spatial_weighting import SpatialWeighting

CHANNELS = 4


def make(channels=CHANNELS):
    """In float64 and eval mode, parameters and running statistics off their starting values."""
    generator = torch.Generator().manual_seed(7)
    module = SpatialWeighting(channels).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(generator=generator)
        module.score.weight.div_(4)  # scores far below 20, where torch's softplus turns into its asymptote
        module.norm.running_mean.normal_(generator=generator)
        module.norm.running_var.uniform_(0.5, 2, generator=generator)
    return module


def features(batch=2, height=3, width=5):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, CHANNELS, height, width, dtype=torch.float64, generator=generator)


def slow(module, image):
    """(s u / |u|, s) of one image [C, h, w]."""
    channels, height, width = image.shape
    out, weights = torch.zeros_like(image), torch.zeros(1, height, width, dtype=torch.float64)
    norm = module.norm
    for y in range(height):
        for x in range(width):
            at, u = image[:, y, x].tolist(), []
            for c in range(channels):
                v = sum(w * i for w, i in zip(module.embed.weight[c].flatten().tolist(), at, strict=True))
                v = (v - norm.running_mean[c].item()) / math.sqrt(norm.running_var[c].item() + norm.eps)
                u.append(v * norm.weight[c].item() + norm.bias[c].item())
            score = module.score.bias.item()
            score += sum(w * max(v, 0) for w, v in zip(module.score.weight.flatten().tolist(), u, strict=True))
            weights[0, y, x] = math.log(1 + math.exp(score))
            length = math.sqrt(sum(v * v for v in u))
            for c in range(channels):
                out[c, y, x] = weights[0, y, x] * u[c] / length
    return out, weights


@pytest.mark.parametrize("batch", [1, 2])
def test_the_weighted_map_is_what_its_equation_says(batch):
    module, x = make(), features(batch)
    with torch.no_grad():
        for image, out, weights in zip(x, module(x), module.weights(x), strict=True):
            expected, s = slow(module, image)
            torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)
            torch.testing.assert_close(weights, s, rtol=0, atol=1e-10)


def test_the_length_of_every_vector_is_its_weight():
    module, x = make(), features()
    with torch.no_grad():
        torch.testing.assert_close(module(x).norm(dim=1, keepdim=True), module.weights(x))


@pytest.mark.parametrize("length", [1e-2, 1e-4])
def test_a_short_vector_is_stretched_to_its_weight_too(length):
    module, x = make(), features()
    with torch.no_grad():
        module.norm.weight.zero_()
        module.norm.bias.fill_(length / 2)  # |u| = sqrt(4 (length / 2)^2) = length
        torch.testing.assert_close(module(x).norm(dim=1, keepdim=True), module.weights(x))


def test_a_zero_vector_stays_zero_and_has_a_finite_gradient():
    module, x = make(), features().requires_grad_()
    with torch.no_grad():
        module.norm.weight.zero_()
        module.norm.bias.zero_()  # u = 0 everywhere
    out = module(x)
    out.sum().backward()
    assert out.eq(0).all()
    assert module.norm.weight.grad.isfinite().all()
    assert x.grad.isfinite().all()


def test_memory_layout_does_not_change_the_weighting():
    module, x = make(), features()
    strided = torch.zeros(2, 2 * CHANNELS, 3, 5, dtype=torch.float64)[:, ::2].copy_(x)
    for other in (x.to(memory_format=torch.channels_last), strided, x.mT.contiguous().mT):
        assert not other.is_contiguous()
        torch.testing.assert_close(module(other), module(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("training", [False, True])
def test_the_gradients_of_the_weighting_are_right(training):
    module = make().train(training)
    x = features(2, 2, 1).requires_grad_()
    names, values = zip(*module.named_parameters(), strict=True)

    def run(x, *values):
        return torch.func.functional_call(module, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *values))


def test_a_strong_score_does_not_overflow():
    # 100 is past log(largest float16) = 11 and log(largest float32) = 88: log(1 + exp(x)) by itself would be infinite.
    module = make().to(torch.float16)
    with torch.no_grad():
        module.score.weight.zero_()
        module.score.bias.fill_(100)
        weights = module.weights(features().half())
    assert weights.dtype == torch.float32
    assert weights.eq(100).all()


def test_lengths_are_taken_in_float32():
    # |u| = sqrt(4 x 40,000^2) = 80,000 is past float16's 65,504; u / |u| = 1/2 in each of 4 channels.
    module = make().to(torch.float16)
    with torch.no_grad():
        module.score.weight.zero_()
        module.norm.weight.zero_()
        module.norm.bias.fill_(40_000)
        x = features().half()
        torch.testing.assert_close(module(x), (module.weights(x) / 2).half().expand_as(x), rtol=1e-2, atol=0)


def test_bfloat16_autocast_gives_nearly_the_same():
    torch.manual_seed(0)
    module, x = SpatialWeighting(16).eval(), torch.randn(2, 16, 3, 5)
    with torch.inference_mode():
        exact = module(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert module.weights(x).dtype == torch.float32
            torch.testing.assert_close(module(x).float(), exact, rtol=0.05, atol=0.02)
