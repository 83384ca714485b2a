"""Metrics: what a server counts, as Prometheus reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

if TYPE_CHECKING:
    from imgret.serve.server import Server

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counters of one server; nothing in them tells what was searched for."""

    def __init__(self, server: Server) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "imgret_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "imgret_request_seconds", "Time to an answer.", ["route"], buckets=_BUCKETS, registry=registry
        )
        self._refused = Counter("imgret_pictures_refused", "Pictures not decoded.", ["reason"], registry=registry)
        asker, collection = server.asker, server.collection
        for name, words, value in (
            ("imgret_images", "Images that are searched.", lambda: collection.count),
            ("imgret_model_ready", "1 when the model is loaded.", lambda: asker.state == "ready"),
            ("imgret_searches_waiting", "Searches that wait.", lambda: asker.waiting),
            ("imgret_searches_answered", "Searches answered since the start.", lambda: asker.answered),
            ("imgret_batches", "Batches they were answered in.", lambda: asker.batches),
            ("imgret_decodes_waiting", "Pictures that wait to be decoded.", lambda: server.decoders.waiting),
            ("imgret_cache_bytes", "Bytes of pictures on disk.", lambda: server.pictures.held),
        ):
            Gauge(name, words, registry=registry).set_function(value)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer. The route is a template, so there are few."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def refused(self, reason: str) -> None:
        """Count a picture that was not decoded."""
        self._refused.labels(reason).inc()

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self._registry)
