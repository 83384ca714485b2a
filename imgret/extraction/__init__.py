"""From images to a store of descriptors."""
