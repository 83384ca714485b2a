"""Near-duplicates: pairs of images that are each other's nearest, and groups of them in which all are alike."""
