"""Whole models against their equations, written down once more in numpy: what follows the trunk, step by step."""

import numpy as np
import pytest
import torch

from imgret.models.dalg import DALG
from imgret.models.dtop import DToP
from imgret.models.glam import GLAM
from imgret.nn.gala import GALAGate, GlobalLocalAttention
from imgret.nn.gsa import GlobalSelfAttention
from tests.models import plain
from tests.models.plain import array, batch_norm, conv, gem, linear, off_start, sigmoid, softmax, tokens

HEIGHT, WIDTH = 4, 7


def maps(channels, height=HEIGHT, width=WIDTH, seed=0):
    return np.random.default_rng(seed).normal(size=(2, channels, height, width))


def same(found, expected):
    assert found.shape == expected.shape
    assert np.abs(array(found) - expected).max() <= 1e-9 * np.abs(expected).max()


@pytest.mark.parametrize("first_level", [False, True])
def test_glam_is_eq_7_with_all_parts_and_its_head(first_level):
    model, F = off_start(GLAM("test_resnet", dim=16, first_level=first_level)), maps(96) ** 2
    means = F.mean((2, 3))

    A_lc = sigmoid(plain.along_channels(model.local_channel.conv, means))[:, :, None, None]
    F_lc = F * A_lc + F
    spatial = model.local_spatial
    reduced = conv(spatial.reduce, F)
    first = conv(spatial.first_level, reduced) if first_level else reduced
    pyramid = [conv(layer, reduced, d) for layer, d in zip(spatial.pyramid, (1, 2, 3), strict=True)]
    A_ls = conv(spatial.score, np.concatenate([first, *pyramid], 1))
    F_l = F_lc * A_ls + F_lc

    key, query = (
        sigmoid(plain.along_channels(layer, means)) for layer in (model.global_channel.key, model.global_channel.query)
    )
    A_gc = softmax(key[:, :, None] * query[:, None, :], 1)
    G_c = (tokens(F) @ A_gc).transpose(0, 2, 1).reshape(F.shape)
    F_gc = F * G_c
    Q, K, V = (
        tokens(conv(layer, F)).transpose(0, 2, 1)  # [B, c', hw]
        for layer in (model.global_spatial.query, model.global_spatial.key, model.global_spatial.value)
    )
    mixed = V @ softmax(K.transpose(0, 2, 1) @ Q, 1)
    G_s = conv(model.global_spatial.expand, mixed.reshape(2, -1, HEIGHT, WIDTH))
    F_g = F_gc * G_s + F_gc

    w = softmax(array(model.fusion), 0)
    fused = w[0] * F_l + w[1] * F_g + w[2] * F
    found = model.fuse(torch.from_numpy(F))
    same(found, fused)
    head = batch_norm(model.projection.norm, linear(model.projection.fc, gem(fused)))
    same(model.aggregate(found), head)


def in_window(attention, height, width, window, shift):
    """P of each pair of cells [heads, hw, hw], -inf for cells of two windows."""
    y, x = (axis.reshape(-1) for axis in np.indices((height, width)))
    together = np.ones((height * width, height * width), dtype=bool)
    for axis in (y, x):
        number = (axis + shift) // window
        together &= number[:, None] == number[None, :]
    dy, dx = y[:, None] - y[None, :], x[:, None] - x[None, :]
    reach = window - 1  # farther cells are never together
    P = array(attention.position)[:, dy.clip(-reach, reach) + reach, dx.clip(-reach, reach) + reach]
    return np.where(together, P, -np.inf)


@pytest.mark.parametrize(("window", "shift"), [(4, 2), (3, 1)])
def test_dalg_is_its_local_branch_its_cross_attention_and_its_head(window, shift):
    model = off_start(DALG("test_resnet", dim=16, width=32, heads=4, window=window))
    fine, coarse = maps(192, 6, 7), maps(96, 3, 4, seed=1)

    local = tokens(fine)  # X_3 -> L_0
    for block, moved in zip(model.local.windows, (0, shift), strict=True):
        bias = in_window(block.attention, 6, 7, window, moved)
        normed = plain.layer_norm(block.attention_norm, local)
        local = local + plain.attend(block.attention, normed, normed, bias)
        local = local + plain.feed_forward(block.mlp, plain.layer_norm(block.mlp_norm, local))
    spatial = model.local.spatial
    u = batch_norm(spatial.norm, conv(spatial.embed, local.transpose(0, 2, 1).reshape(fine.shape)))
    s = np.log1p(np.exp(conv(spatial.score, np.maximum(u, 0))))
    L = linear(model.local.linear, tokens(s * u / np.sqrt((u**2).sum(1, keepdims=True))))
    same(model.local(torch.from_numpy(fine)), L)

    cross = model.cross
    T = linear(cross.linear, plain.layer_norm(cross.norm, tokens(coarse)))
    T = T + plain.attend(cross.block.attention, plain.layer_norm(cross.block.attention_norm, T), L)
    T = T + plain.feed_forward(cross.block.mlp, plain.layer_norm(cross.block.mlp_norm, T))

    vector = np.concatenate([T.mean(1), linear(model.pooled, gem(coarse))], 1)
    head = batch_norm(model.projection.norm, linear(model.projection.fc, vector))
    same(model.aggregate(torch.from_numpy(fine), torch.from_numpy(coarse)), head)


def test_dtop_is_its_two_branches_and_its_head():
    model = off_start(DToP("test_vit", dim=16, layers=3))
    classes = np.random.default_rng(2).normal(size=(2, 3, 64))
    patches = maps(3 * 64, 20, 22).reshape(2, 3, 64, 20, 22)  # wide enough for a dilation of 18

    Y = conv(model.reduce, patches.reshape(2, 192, 20, 22))
    inverted, pyramid = model.locality.inverted, model.locality.pyramid
    t = batch_norm(inverted.widen[1], conv(inverted.widen[0], Y)).clip(0, 6)
    t = batch_norm(inverted.depthwise[1], conv(inverted.depthwise[0], t)).clip(0, 6)
    t = batch_norm(inverted.narrow[1], conv(inverted.narrow[0], t))
    ranges = [np.maximum(batch_norm(pyramid.point[1], conv(pyramid.point[0], t)), 0)]
    for layer, d in zip(pyramid.atrous, (6, 12, 18), strict=True):
        ranges.append(np.maximum(batch_norm(layer[1], conv(layer[0], t, d)), 0))
    mean = np.maximum(conv(pyramid.mean[0], t.mean((2, 3), keepdims=True)), 0)
    ranges.append(np.broadcast_to(mean, t.shape))
    Y = Y + conv(pyramid.join, np.concatenate(ranges, 1))
    same(model.patch_map(torch.from_numpy(patches)), Y)

    u_c, u_p = linear(model.class_fc, classes.reshape(2, -1)), linear(model.patch_fc, gem(Y))
    model.trunk.forward = lambda images: (torch.from_numpy(classes), torch.from_numpy(patches))
    same(model.describe(torch.zeros(2, 3, 32, 32)), batch_norm(model.norm, np.concatenate([u_c, u_p], 1)))


@pytest.mark.parametrize(
    "release", [{}, {"local_kernel": 5, "squash": "sigmoid", "global_relu": True}], ids=["paper", "release"]
)
def test_gala_is_a_sum_and_a_product_of_what_and_where(release):
    attention, X = off_start(GlobalLocalAttention(12, 4, **release)), maps(12, 5, 8)
    first, _, second, *_ = attention.global_path
    g = linear(second, np.maximum(linear(first, X.mean((2, 3))), 0))[:, :, None, None]
    where = [layer for layer in attention.local_path if hasattr(layer, "weight")]
    l = X
    for layer in where[:-1]:
        l = np.maximum(conv(layer, l), 0)
    l = conv(where[-1], l)
    if release:
        g = np.maximum(g, 0)
    a, m = array(attention.additive), array(attention.multiplicative)
    logits = a * (g + l) + m * g * l
    S = sigmoid(logits) if release else np.tanh(logits)
    x = torch.from_numpy(X)
    same(attention(x), S)
    same(GALAGate(attention, identity=False)(x), X * S)


@pytest.mark.parametrize(
    ("height", "width", "reach", "pos_norm"), [(6, 9, 4, False), (6, 9, 20, True), (1, 5, 3, False)]
)
def test_gsa_is_content_plus_columns_then_rows(height, width, reach, pos_norm):
    module, X = off_start(GlobalSelfAttention(10, reach, 16, 4, "absolute", pos_norm)), maps(10, height, width)
    Q, K, V = (
        conv(layer, X).reshape(2, 4, 4, height, width)  # [B, heads, d, H, W]
        for layer in (module.query, module.key, module.value)
    )
    pixels = softmax(K.reshape(2, 4, 4, -1), 3).reshape(K.shape)
    C = np.einsum("bndij,bnde->bneij", Q, np.einsum("bndij,bneij->bnde", pixels, V))

    def axial(V, table, axis):
        """Each cell reads those at most reach - 1 before or behind it on one axis (3 down, 4 across)."""
        q, v, out = np.moveaxis(Q, axis, 0), np.moveaxis(V, axis, 0), np.zeros_like(np.moveaxis(V, axis, 0))
        for i in range(len(q)):
            for t in range(max(0, i - reach + 1), min(len(q), i + reach)):
                logits = np.einsum("bndx,d->bnx", q[i], table[t - i + reach - 1])
                out[i] += logits[:, :, None] * v[t]
        return np.moveaxis(out, 0, axis) / (len(q) if pos_norm else 1)

    position = module.position
    columns = axial(V, array(position.column.table), 3)
    columns = batch_norm(position.norm, columns.reshape(2, 16, height, width)).reshape(V.shape)
    same(module(torch.from_numpy(X)), (C + axial(columns, array(position.row.table), 4)).reshape(2, 16, height, width))
