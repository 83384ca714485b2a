"""Atlas: the map of a collection, a place in the unit square for every image, with those that are alike together."""
