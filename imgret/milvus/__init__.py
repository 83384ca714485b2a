"""Milvus: a store's descriptors in a collection of a vector database, written, checked and searched there."""
