"""Batch norms counted anew, and a whitening in the last layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from imgret.errors import ImgretError
from imgret.training import calibration
from tests.models.tiny import tiny
from tests.toy import MeanColour


def pixels(count: int, side: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def as_images(batch: np.ndarray) -> torch.Tensor:
    return torch.tensor(batch).permute(0, 3, 1, 2).float() / 255


def norms(model: nn.Module) -> list[nn.Module]:
    return [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]


def test_norms_get_the_mean_of_their_batches_statistics():
    model = tiny("glam")
    first = norms(model)[0]
    seen = []
    first.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    calibration.renew_norms(model, [pixels(8), 255 - pixels(4)])
    means = [one.mean((0, 2, 3)) for one in seen]
    variances = [one.var((0, 2, 3)) for one in seen]
    torch.testing.assert_close(first.running_mean, (means[0] + means[1]) / 2)
    torch.testing.assert_close(first.running_var, (variances[0] + variances[1]) / 2)


def test_afterwards_the_model_describes_as_before_but_for_the_statistics():
    model = tiny("glam")
    momenta = [norm.momentum for norm in norms(model)]
    calibration.renew_norms(model, [pixels(8)])
    assert [norm.momentum for norm in norms(model)] == momenta
    assert not any(part.training for part in model.modules())
    weights = dict(tiny("glam").named_parameters())
    assert all(torch.equal(weights[name], now) for name, now in model.named_parameters())


def test_dropout_stays_off_while_norms_are_counted():
    models = [tiny("glam", dropout=share) for share in (0.0, 0.9)]
    for model in models:
        calibration.renew_norms(model, [pixels(8)])
    one, other = (model.projection.norm.running_var for model in models)
    torch.testing.assert_close(one, other)


def test_a_model_without_norms_and_too_few_images_are_said():
    with pytest.raises(ImgretError, match="no batch norms"):
        calibration.renew_norms(MeanColour(), [pixels(8)])
    model = tiny("glam")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ImgretError, match="too few"):
        calibration.renew_norms(model, [])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_rows_are_those_that_the_model_makes_unit_length():
    model, batch = tiny("glam"), pixels(3)
    rows = calibration.rows_before(model)(batch)
    with torch.inference_mode():
        expected = model(as_images(batch))
    torch.testing.assert_close(F.normalize(torch.from_numpy(rows)).float(), expected)
    assert np.linalg.norm(rows, axis=1).max() != pytest.approx(1)


def test_a_whitened_model_gives_the_whitened_rows():
    model, batch, random = tiny("glam", dim=4), pixels(3), np.random.default_rng(1)
    rows = calibration.rows_before(model)(batch)
    mean, projection = random.standard_normal(4), random.standard_normal((4, 4))
    calibration.whiten(model, mean, projection)
    with torch.inference_mode():
        found = model(as_images(batch))
    expected = F.normalize(torch.from_numpy((rows - mean) @ projection.T)).float()
    torch.testing.assert_close(found, expected)


def test_a_model_that_ends_otherwise_is_refused():
    with pytest.raises(ImgretError, match="imgret whiten"):
        calibration.whiten(tiny("gem"), np.zeros(4), np.eye(4))


def test_a_square_is_the_middle():
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    assert (calibration.square(wide, 10) == 200).all()
