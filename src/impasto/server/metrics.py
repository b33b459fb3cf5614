"""What is counted, in Prometheus' form."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from impasto.server.jobs import Job

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "impasto_http_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self.answering = Histogram(
            "impasto_http_seconds", "Time to the end of an answer.", ["route"], buckets=SECONDS, registry=registry
        )
        self.jobs = Counter("impasto_jobs", "Jobs that ended.", ["kind", "state"], registry=registry)
        self.job_seconds = Histogram(
            "impasto_job_seconds", "From the start of a job to its end.", ["kind"], buckets=SECONDS, registry=registry
        )
        self.waiting_seconds = Histogram(
            "impasto_job_waiting_seconds", "From a request to its start.", buckets=SECONDS, registry=registry
        )
        self.pictures = Counter("impasto_pictures", "Pictures and sheets made.", registry=registry)
        self.steps = Counter("impasto_steps", "Steps of a batch made.", registry=registry)
        self.workers = Counter("impasto_workers_started", "Worker processes started.", registry=registry)
        self.deaths = Counter("impasto_workers_died", "Worker processes that died.", registry=registry)
        self.loading = Histogram(
            "impasto_model_loading_seconds", "Time to load a model.", buckets=SECONDS, registry=registry
        )

    def gauge(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Report what `value` says whenever somebody asks."""
        Gauge(f"impasto_{name}", what, registry=self.registry).set_function(value)

    def ended(self, job: Job) -> None:
        """Count a job that has ended."""
        self.jobs.labels(job.kind, job.state).inc()
        if job.started and job.finished:
            self.job_seconds.labels(job.kind).observe((job.finished - job.started).total_seconds())
            self.waiting_seconds.observe(max(0.0, (job.started - job.created).total_seconds()))

    def text(self) -> bytes:
        """Return all of it in Prometheus' text form."""
        return generate_latest(self.registry)
