"""What Prometheus is told about every HTTP API: how many requests, how long, with which outcome."""

from prometheus_client import CollectorRegistry, Histogram

# A label must not grow with what strangers send.
_METHODS = frozenset(("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"))
_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class HttpMetrics:
    """Owns a registry of its own, so that two apps in one process do not meet; `observe` is what `RequestMiddleware` calls."""

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
        """`route` is the pattern, never the path; status 0 means that the caller left before an answer."""
        key = (method, route, status)
        child = self._children.get(key)
        if child is None:
            named = method if method in _METHODS else "other"
            child = self._seconds.labels(named, route, str(status))
            if named == method:
                self._children[key] = child
        child.observe(seconds)
