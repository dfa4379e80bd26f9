"""Settings of a run: everything that can change a number, and how work is spread.

Nothing heavy is imported before settings are made, since the command line's options are these
fields.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING, Any, cast, get_args

from graphprune.errors import GraphpruneError
from graphprune.evaluate.duration import parse_duration
from graphprune.evaluate.option import option
from graphprune.progress import Progress, quiet
from graphprune.runtime.provider import Provider
from graphprune.runtime.resources import Resources, current

if TYPE_CHECKING:
    from graphprune.attacks.attack import AttackMethod, Effort
    from graphprune.bounds import Method
    from graphprune.ir import Network, Query
    from graphprune.ir.query import Target
    from graphprune.region import Anchor, Domain, Norm
    from graphprune.threats import Threat


class Metric(StrEnum):
    """A distance that is computed or estimated for an anchor."""

    ADV = "adv"
    ROB = "rob"
    BND = "bnd"

    @property
    def key(self) -> str:
        """Its field in documents, as ``d_adv``."""
        return f"d_{self.value}"


METRICS = tuple(Metric)
PROVIDERS = get_args(Provider)


def _methods() -> Sequence[str]:
    from graphprune.bounds import METHODS

    return METHODS


def _efforts() -> Sequence[str]:
    from graphprune.attacks.attack import STAGES

    return tuple(STAGES)


def _norms() -> Sequence[str]:
    from graphprune.region import known_norms

    return tuple(known_norms())


def _solvers() -> Sequence[str]:
    from graphprune.backends.choose import solvers

    return solvers()


def _threats() -> Sequence[str]:
    from graphprune.threats import known_threats

    return tuple(known_threats())


def _unit_domain() -> "Domain":
    from graphprune.region import Domain

    return Domain()


FIX_SHAPE = option(
    "Sizes of an input with dynamic axes; repeatable.", "--fix-shape", metavar="NAME=1,3,224,224"
)


@dataclass(frozen=True)
class Settings:
    """Everything to compute for every anchor, and with what.

    Attributes
    ----------
    metrics
        Subset of ``adv``, ``rob``, ``bnd``.
    method
        Bounds for d_rob.
    attack
        ``descent`` or ``pgd``.
    effort
        Effort of the attack.
    seed
        Seed of the attack's random points.
    norm
        Norm of every distance.
    radius
        Radius at which anchors are called certified, attacked or undecided, and the limit of d_rob
        and d_bnd; or None.
    gap
        d_bnd ends where (upper - lower) / upper is at most this; None: where it is exact.
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
    fix_shape
        Sizes for dynamic axes of inputs, as texts ``NAME=1,3,224,224``.
    target
        The only class that counts as adversarial, or several; None: all but the label.
    top_k
        Adversarial is where the label is not among so many best classes.
    margin
        Score by which another class must be above the label's to count as adversarial.
    threshold
        For a network with one output: class 1 is where the output is above it.
    threat
        The changes that count and their units, a text in place of the object too; None: all
        elements of the file's own input.
    certificate
        Prove every d_bnd for ``graphprune check``; the lower end is then what is proven.
    threads
        Per worker. Neither these nor the following change what is computed.
    provider
        Device choice of ONNX Runtime.
    workers
        Processes of a run, or of a task's search.
    memory
        GiB that the bounds, the search or SCIP of a task may take.
    """

    metrics: tuple[str, ...] = field(
        default=METRICS,
        metadata=option(
            "Of adv, rob, bnd.",
            "--metrics",
            suggestions=lambda: (*METRICS, "adv,rob", "adv,rob,bnd"),
        ),
    )
    method: "Method" = field(
        default="crown",
        metadata=option(
            "Bounds for d_rob: ibp|fastlin|fastlin-ibp|crown|alpha-crown.", "--method",
            choices=_methods, metrics=("rob",),
        ),
    )  # fmt: skip
    attack: "AttackMethod" = "descent"
    effort: "Effort" = field(
        default="standard",
        metadata=option(
            "Attack: fast|standard|thorough.", "--effort", choices=_efforts, metrics=("adv",)
        ),
    )
    seed: int = field(
        default=0, metadata=option("Of random starts.", "--seed", metrics=("adv", "bnd"))
    )
    norm: "Norm" = field(
        default=cast("Norm", "linf"),
        metadata=option("Of every distance: linf|l2|l1.", "--norm", choices=_norms),
    )
    radius: float | None = field(
        default=None,
        metadata=option(
            "Certified, attacked or undecided at this radius; d_rob and d_bnd go no further.",
            "--radius", check="positive",
        ),
    )  # fmt: skip
    gap: float | None = field(
        default=None,
        metadata=option(
            "End d_bnd where (upper - lower) / upper is at most this; 1: at the first point found.",
            "--gap", check="positive", metrics=("bnd",),
        ),
    )  # fmt: skip
    solver: str = field(
        default="auto",
        metadata=option(
            "For d_bnd: auto|search|scip.", "--solver", choices=_solvers, metrics=("bnd",)
        ),
    )
    time_limit: float | None = field(
        default=None,
        metadata=option(
            "Per anchor and metric: seconds, or 10s, 2m, 1h.",
            "--time-limit",
            "--timeout",
            check="not negative",
            metavar="SECONDS",
            parse=parse_duration,
        ),
    )
    estimates: tuple[str, ...] = ()
    domain: "Domain" = field(
        default_factory=_unit_domain,
        metadata=option("Box of every input element, or none.", "--domain"),
    )
    output: str | None = field(
        default=None,
        metadata=option(
            "Output with the scores; default: the only float one.", "--output", metavar="NAME"
        ),
    )
    fix_shape: tuple[str, ...] = field(default=(), metadata=FIX_SHAPE)
    target: "Target" = field(
        default=None,
        metadata=option(
            "Only this class counts as adversarial.", "--target", metavar="CLASS", least=0
        ),
    )
    top_k: int = field(
        default=1,
        metadata=option(
            "Adversarial only where the label is not among the K best classes.",
            "--top-k", metavar="K", least=1,
        ),
    )  # fmt: skip
    margin: float = field(
        default=0.0,
        metadata=option(
            "Adversarial only if another score is this much above the label's (0: ties count).",
            "--margin", least=0.0,
        ),
    )  # fmt: skip
    threshold: float | None = field(
        default=None,
        metadata=option(
            "One output: class 1 is where it is above this (0; 0.5 after a sigmoid).",
            "--threshold",
        ),
    )
    threat: "Threat | None" = field(
        default=None,
        metadata=option(
            "Changes that count, and their units: normalise, scale, mask, patch, brightness, ...;"
            " graphprune passes lists them.",
            "--threat",
            metavar="SPEC",
            suggestions=_threats,
        ),
    )
    certificate: bool = False
    threads: int = field(default=1, metadata=option("Per worker.", "--threads", least=1))
    provider: Provider = field(
        default="auto",
        metadata=option("auto|cpu|cuda.", "--provider", choices=lambda: PROVIDERS),
    )
    workers: int = field(
        default=1,
        metadata=option("Processes: for tasks, or for the search of few.", "--workers", least=1),
    )
    memory: float = field(
        default=2.0,
        metadata=option(
            "GiB that a task's bounds, search or SCIP may take.", "--memory", metavar="GIB",
            check="finite", metrics=("rob", "bnd"),
        ),
    )  # fmt: skip

    def __post_init__(self) -> None:
        from graphprune.ir.query import require_one_question
        from graphprune.region import norm_of

        object.__setattr__(self, "norm", norm_of(self.norm))
        if self.threat is not None:
            from graphprune.threats import threat_of

            object.__setattr__(self, "threat", threat_of(self.threat))
        require_one_question(self.target, self.top_k)
        if self.margin and self.certificate:
            raise GraphpruneError("a certificate is about decisions, which know no margin")
        if "bnd" in self.metrics:
            self.norm.require_compiled("d_bnd")
        if self.certificate:
            self.norm.require_certifiable()

    @property
    def limit(self) -> float:
        """Seconds of a task; infinite without a limit."""
        return inf if self.time_limit is None else self.time_limit

    def query(self, network: "Network", anchor: "Anchor") -> "Query":
        """The question about an anchor that these settings ask."""
        from graphprune.canonical.questions import question, with_margin

        query = question(
            with_margin(network, anchor.label, self.margin), anchor, self.domain, norm=self.norm,
            seed=self.seed, target=self.target, top_k=self.top_k,
        )  # fmt: skip
        return query if self.threat is None else self.threat.ask(query)

    def prepared(self, network: "Network") -> "Network":
        """A file's network in the units of the threat, checked against it."""
        return network if self.threat is None else self.threat.prepared(network, self.domain)

    def check_anchors(self, anchors: Sequence["Anchor"]) -> None:
        """Refuse anchors in other units than the threat's, and those of which it moves none."""
        if self.threat is not None:
            self.threat.check_anchors(anchors, self.domain)

    def resources(self, progress: Progress = quiet) -> Resources:
        """The resources of a task; its deadline is its own, the memory of workers the run's."""
        return Resources(
            memory=int(self.memory * 2**30), threads=self.threads, workers=self.workers,
            worker_memory=current().worker_memory, provider=self.provider, progress=progress,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """For the document; infinite ends of the domain as null, both of them as one."""
        settings = asdict(replace(self, threat=None))
        for name in ("time_limit", "radius"):
            if settings[name] == inf:  # the same as none
                settings[name] = None
        settings["norm"], settings["domain"] = str(self.norm), self.domain.to_json()
        # Where they are not asked for, documents are as before there were such questions.
        plain = {"fix_shape": (), "target": None, "top_k": 1, "margin": 0.0, "gap": None}
        for name, value in (plain | {"threshold": None}).items():
            if settings[name] in (value, None):
                del settings[name]
        del settings["threat"]
        return settings if self.threat is None else settings | self.threat.to_json()

    @classmethod
    def from_json(cls, settings: Mapping[str, Any]) -> "Settings":
        """Inverse of `to_json`; settings left out have their defaults."""
        values = {f.name: settings[f.name] for f in fields(cls) if f.name in settings}
        values |= {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
        if "domain" in settings:
            values["domain"] = domain_of(settings)
        if "threat" in settings:
            from graphprune.threats import Threat

            values["threat"] = Threat.from_json(settings)
        return cls(**values)

    def numbers(self) -> dict[str, Any]:
        """The settings that can change a number: a resumed run must agree on them.

        One that asks for certificates makes anew what has none.
        """
        ignored = ("threads", "provider", "workers", "memory", "certificate")
        return {k: v for k, v in self.to_json().items() if k not in ignored}


def domain_of(settings: Mapping[str, Any]) -> "Domain":
    """The domain of settings as JSON."""
    from graphprune.region import Domain

    return Domain.from_json(settings.get("domain"))
