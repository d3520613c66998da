"""Request metrics of every HTTP API: how many, how long, with which outcome."""

from prometheus_client import CollectorRegistry, Histogram

# Label values must stay bounded, whatever clients send.
_METHODS = frozenset(("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"))
_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class HttpMetrics:
    """Has its own registry, so that two apps in one process do not clash. `RequestMiddleware` calls `observe`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "Time from the request to the end of its answer",
            ("method", "route", "status"),
            registry=self.registry,
            buckets=_BUCKETS_SECONDS,
        )
        self._children: dict[tuple[str, str, int], Histogram] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """`route` is the pattern, never the path. Status 499: the client left in the middle of its request; 0: before
        an answer.
        """
        key = (method, route, status)
        child = self._children.get(key)
        if child is None:
            method_label = method if method in _METHODS else "other"
            child = self._seconds.labels(method_label, route, str(status))
            if method_label == method:
                self._children[key] = child
        child.observe(seconds)
