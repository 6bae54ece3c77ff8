"""The server's figures, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BATCH = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Everything that is counted, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        """What /metrics shows."""
        self.requests = Counter(
            "dssm_requests", "Answered requests.", ["route", "status"], registry=self.registry
        )
        """By the route's pattern and the answer's status."""
        self.seconds = Histogram(
            "dssm_request_seconds",
            "Seconds from a request's head to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        """By the route's pattern."""
        self.in_progress = Gauge(
            "dssm_requests_in_progress", "Requests that are worked on.", registry=self.registry
        )
        """At this moment."""
        self.batch = Histogram(
            "dssm_batch_queries",
            "Recommendations that were computed by one call of the model.",
            buckets=_BATCH,
            registry=self.registry,
        )
        """Queries of a batch."""
        self.release = Gauge("dssm_release", "Version of the release that answers.", registry=self.registry)
        """0: none."""
        self.wanted_release = Gauge(
            "dssm_wanted_release",
            "Version of the current release; not dssm_release while it is loaded, or where it is refused.",
            registry=self.registry,
        )
        """0: none."""
        self.reloads = Counter(
            "dssm_reloads", "Releases that took over, the first among them.", registry=self.registry
        )
        """Since the start."""
        self.failed_reloads = Counter(
            "dssm_failed_reloads",
            "Attempts to load the current release that failed; the old one goes on answering.",
            registry=self.registry,
        )
        """Since the start."""
        self.load_seconds = Gauge(
            "dssm_load_seconds", "Seconds that loading the release took.", registry=self.registry
        )
        """Of the one that answers."""

    def render(self) -> bytes:
        """Write the figures in Prometheus' text format."""
        return generate_latest(self.registry)
