"""Better bounds at the roots against their time: that of the trees which they save.

Both are estimates: a bound's from the time of one optimiser step, a tree's from what it took so far
in this step, or is forecast to take.
"""

from collections.abc import Iterable, Sequence
from math import inf
from time import monotonic

from graphprune.backends.relaxation import tighten
from graphprune.backends.relaxation.subproblem import Subproblem
from graphprune.backends.search.cases import KnownCases
from graphprune.backends.search.forecast import Outlook
from graphprune.backends.search.settings import StepSettings


class RootWorth:
    """The times of a radius step's trees, by target, and what they are worth at its roots.

    Attributes
    ----------
    seconds
        Time of a target's trees so far, those that are running not counted.
    running
        Targets whose tree is being expanded, since when.
    pass_seconds
        Time of an optimiser step.
    """

    def __init__(self, settings: StepSettings, known: KnownCases, outlook: Outlook) -> None:
        self.settings = settings
        self.known = known
        self.outlook = outlook
        self.seconds: dict[int, float] = {}
        self.running: dict[int, float] = {}
        self.pass_seconds = 0.0

    def begin(self, labels: Iterable[int]) -> None:
        """Note that the trees of some targets are being expanded."""
        self.running = dict.fromkeys(labels, monotonic())

    def end(self) -> None:
        """Note that they are not any more."""
        for label, start in self.running.items():
            self.seconds[label] = self.seconds.get(label, 0.0) + monotonic() - start
        self.running = {}

    def _spent(self, label: int) -> float:
        """Return the seconds of a target's trees in this step: so far, or forecast."""
        own = self.seconds.get(label, 0.0)
        if label in self.running:
            own += monotonic() - self.running[label]
        return max(own, self.outlook.kept.get(label, 0.0))

    def constrained_seconds(self, target: Subproblem) -> float:
        """Return how long output-constrained bounds of a root should take."""
        steps = tighten.constrained_steps(target, self.settings.constrained)
        return self.settings.rounds_many * steps * self.pass_seconds

    def constrained(self, target: Subproblem) -> bool:
        """Return whether they take no longer than trees do, in this step or the last."""
        label = target.label
        trees = max(self._spent(label), self.known.seconds.get(label, 0.0))
        return self.constrained_seconds(target) <= self.settings.worth * trees

    def late(self, labels: Iterable[int]) -> bool:
        """Return whether late layers' bounds take no longer than trees with them take less."""
        # Trees have some power of what their roots lack.
        saved = (1.0 - self.known.late_kept**2) * sum(map(self._spent, labels))
        seconds = tighten.late_steps(self.settings.late) * self.pass_seconds
        return seconds <= self.settings.worth * saved

    def had_late(self, before: Sequence[Subproblem], after: Sequence[Subproblem]) -> None:
        """Note what late layers' bounds left of what the worst root lacked."""
        if any(target.has_planes for target in before):
            return
        worst = min((target.bound for target in before), default=0.0)
        now = min((target.bound for target in after), default=0.0)
        if -inf < worst < now:
            self.known.late_kept = now / worst
