"""Layers and trunks that models are made of: pooling, attention, backbones. Import the modules themselves."""
