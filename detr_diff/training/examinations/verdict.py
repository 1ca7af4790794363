"""The order of the findings, and the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from detr_diff.data.finding import Finding, Level, some


@dataclass
class Diagnosis:
    """What the examinations found.

    Attributes:
        causes: Findings that are causes, in the order of examination: what comes first spoils what
            comes later.
        symptoms: Findings of trials, which a cause may explain.
        left_out: Examinations that were not made, and why.
        figures: What was measured, as primitives.
    """

    causes: list[Finding] = field(default_factory=list)
    symptoms: list[Finding] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def spoilt(self) -> bool:
        """Whether a cause was found with which no training works."""
        return any(finding.level is Level.problem for finding in self.causes)

    def ranked(self) -> list[Finding]:
        """The likely root cause first: causes before symptoms, the worst first, notes at the end."""
        levels = list(Level)
        causes = sorted(self.causes, key=lambda finding: levels.index(finding.level))
        symptoms = sorted(self.symptoms, key=lambda finding: levels.index(finding.level))
        found = [*causes, *symptoms]
        # A trial that fails outright outweighs what is merely suspicious.
        if not self.spoilt:
            failed = [finding for finding in symptoms if finding.level is Level.problem]
            found = [*failed, *(finding for finding in found if finding not in failed)]
        return sorted(found, key=lambda finding: finding.level is Level.note)

    @property
    def healthy(self) -> bool:
        """Whether there are notes at most."""
        return all(finding.level is Level.note for finding in self.ranked())

    def verdict(self) -> str:
        """In one sentence."""
        ranked = self.ranked()
        problems = sum(finding.level is Level.problem for finding in ranked)
        doubts = sum(finding.level is Level.suspicious for finding in ranked)
        if self.healthy:
            missing = f"; not examined: {', '.join(self.left_out)}" if self.left_out else ""
            return f"no problems found{missing}"
        counts = f"{some(problems, 'problem', 'problems')}, {doubts} suspicious"
        words = "would fail" if problems else "may fail"
        return f"training {words}, most likely because of: {ranked[0].name} ({counts})"


def fault(name: str, message: str, why: str, remedy: str) -> Finding:
    """A problem that is told by an error message."""
    return Finding(Level.problem, name, message, why, remedy)


def rows(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Findings as primitives, with their rank from 1."""
    return [
        {
            "rank": rank,
            "severity": str(finding.level),
            "name": finding.name,
            "what": finding.what,
            "cause": finding.why,
            "remedy": finding.remedy,
            "pairs": dict(finding.pairs),
        }
        for rank, finding in enumerate(findings, 1)
    ]
