"""The names of the two maps that share out a score; those of a model's own views come beside them."""

TOGETHER = "together"
"""What brings the score, by place."""
APART = "apart"
"""What draws the two images apart, by place."""
