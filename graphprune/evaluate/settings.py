"""Settings of a run: everything that can change a number, and how work is spread."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import inf
from typing import Any

from graphprune.attacks.attack import AttackMethod, Effort
from graphprune.backends.choose import Solver
from graphprune.backends.protocol import MEASURED
from graphprune.bounds import Method
from graphprune.errors import GraphpruneError
from graphprune.progress import Progress, quiet
from graphprune.region import LINF, Domain, Norm, norm_of
from graphprune.runtime.provider import Provider
from graphprune.runtime.resources import Resources

METRICS = ("adv", "rob", "bnd")


@dataclass(frozen=True)
class Settings:
    """What to compute for every anchor.

    Attributes
    ----------
    metrics
        Subset of ``adv``, ``rob``, ``bnd``.
    method
        Bounds for d_rob.
    attack
        ``descent`` or ``pgd``.
    effort
        Of the attack.
    seed
        Of its random points.
    norm
        Of every distance; d_bnd knows ``linf`` only.
    radius
        Limit of d_bnd, or None.
    solver
        The exact backend.
    time_limit
        Seconds per anchor and metric, or None.
    estimates
        Texts of estimators, or of pipelines that make substitutes.
    domain
        Domain of perturbed points.
    output
        The graph output that holds the scores, or None for the only float one.
    certificate
        Prove every d_bnd for ``graphprune check``; the lower end is then what is proven.
    threads
        Per worker. Neither these nor the following change what is computed.
    provider
        Of ONNX Runtime.
    workers
        Processes of a run, or of a task's search.
    memory
        GiB that the bounds, the search or SCIP of a task may take.
    """

    metrics: tuple[str, ...] = METRICS
    method: Method = "crown"
    attack: AttackMethod = "descent"
    effort: Effort = "standard"
    seed: int = 0
    norm: Norm = LINF
    radius: float | None = None
    solver: Solver = "auto"
    time_limit: float | None = None
    estimates: tuple[str, ...] = ()
    domain: Domain = field(default_factory=Domain)
    output: str | None = None
    certificate: bool = False
    threads: int = 1
    provider: Provider = "auto"
    workers: int = 1
    memory: float = 2.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "norm", norm_of(self.norm))
        if self.norm is not MEASURED and "bnd" in self.metrics:
            raise GraphpruneError(
                f"d_bnd is computed in the norm {MEASURED} only, not {self.norm}: leave it out"
                " of the metrics (--metrics adv,rob)"
            )

    @property
    def limit(self) -> float:
        return float("inf") if self.time_limit is None else self.time_limit

    def resources(self, progress: Progress = quiet) -> Resources:
        """What a task may use; its deadline is the task's own."""
        return Resources(
            memory=int(self.memory * 2**30), threads=self.threads, workers=self.workers,
            provider=self.provider, progress=progress,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """For the document; infinite ends of the domain as null, both of them as one."""
        settings = asdict(self)
        for name in ("time_limit", "radius"):
            if settings[name] == inf:  # the same as none
                settings[name] = None
        settings["norm"], settings["domain"] = str(self.norm), self.domain.to_json()
        return settings

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> "Settings":
        """Inverse of `to_json`; settings left out have their defaults."""
        values = {f.name: settings[f.name] for f in fields(cls) if f.name in settings}
        values |= {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
        if "domain" in settings:
            values["domain"] = domain_of(settings)
        return cls(**values)

    def numbers(self) -> dict[str, Any]:
        """The settings that can change a number: a resumed run must agree on them.

        One that asks for certificates makes anew what has none.
        """
        ignored = ("threads", "provider", "workers", "memory", "certificate")
        return {k: v for k, v in self.to_json().items() if k not in ignored}


def domain_of(settings: Mapping[str, Any]) -> Domain:
    """The domain of settings as JSON."""
    return Domain.from_json(settings.get("domain"))
