"""Batches of one size each: which images, in which order, cropped and lit how, read by how many processes."""

from __future__ import annotations

AUGMENTATIONS = {
    "none": "imgret.training.batches.augment:NONE",
    "soft": "imgret.training.batches.augment:SOFT",
    "phone": "imgret.training.batches.augment:PHONE",
    "phone-flip": "imgret.training.batches.augment:PHONE_FLIP",
    "phone-scenes": "imgret.training.batches.augment:PHONE_SCENES",
    "phone-glare": "imgret.training.batches.augment:PHONE_GLARE",
}
