"""What every endpoint of the API may reach for: the installation, the limits, and what the process was given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from paystate.app import App
from paystate.entrypoints.api.known import Known
from paystate.machinery.jobs import JobEngine
from paystate.machinery.rate_limits import Limiter
from paystate.machinery.setting_values import RateLimit
from paystate.machinery.settings import Settings

Operations = Mapping[str, Callable[..., Any]]
"""What the owner's command line may ask this process to do, by name."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The buckets of this process, apart so that one never uses up another."""

    api: Limiter
    address: Limiter
    polling: Limiter
    misses: Limiter
    jobs: Limiter

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        def bucket(name: str, rate: RateLimit) -> Limiter:
            return Limiter(name, rate.count, rate.seconds)

        return cls(
            api=bucket("api", settings.api_rate_limit),
            address=bucket("address", settings.api_rate_limit),
            polling=bucket("polling", settings.polling_rate_limit),
            misses=bucket("misses", settings.code_miss_rate_limit),
            jobs=bucket("jobs", settings.job_rate_limit),
        )


@dataclass(frozen=True, slots=True)
class Desk:
    """Made once by `create_web`."""

    app: App
    limits: Limits
    known: Known
    jobs: JobEngine | None
    operations: Operations
    owner_key_hash: str | None = field(repr=False)
    cursor_key: bytes = field(repr=False)
