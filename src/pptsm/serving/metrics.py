"""What a service counts, as Prometheus reads it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters of one service, in a registry of their own.

    Args:
        under_way: asked for the requests that have a place.
        ended: asked for the decoder processes that were ended.
    """

    def __init__(self, under_way: Callable[[], int], ended: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        here = self._registry
        ProcessCollector(registry=here)
        self.requests = Counter("pptsm_requests", "Requests by route and status.", ["route", "status"], registry=here)
        self.seconds = Histogram(
            "pptsm_step_seconds",
            "Seconds of a request's steps: receive, decode (with the wait for a process), network (with its queue).",
            ["step"],
            buckets=SECONDS,
            registry=here,
        )
        self.clips = Counter("pptsm_clips", "Clips (views) that the network has answered.", registry=here)
        Gauge("pptsm_under_way", "Requests that are worked on or wait.", registry=here).set_function(under_way)
        lost = Gauge("pptsm_decoders_lost", "Decoder processes that hung or crashed since the start.", registry=here)
        lost.set_function(ended)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step, also of a request that is refused in it."""
        began = perf_counter()
        try:
            yield
        finally:
            self.seconds.labels(name).observe(perf_counter() - began)

    def text(self) -> bytes:
        """In the text format of Prometheus."""
        return generate_latest(self._registry)
