"""The demo: a collection drawn here, and the whole chain run on it. Nothing is downloaded."""
