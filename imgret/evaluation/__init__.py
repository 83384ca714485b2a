"""Scores of a ranking against a ground truth: `metrics` are the formulas, `evaluate` applies them."""
