"""Serve: a local page on which people search a collection by picture, and an HTTP interface for programs."""
