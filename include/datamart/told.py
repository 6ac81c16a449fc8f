"""What was told of findings, so that each is told when it appears, once a day while it lasts, and when it is over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from datamart.health import NEEDS, Code, Finding

REMIND_AFTER = timedelta(days=1)
UNSTEADY = frozenset(
    {
        Code.PART_DEAD,
        Code.DAG_MISSING,
        Code.DAGS_NOT_PARSED,
        Code.AIRFLOW_AWAY,
        Code.WAREHOUSE_AWAY,
        Code.S3_AWAY,
    }
)
"""What a restart brings about for a moment: told when it was found twice in a row."""

Key = tuple[Code, str]


@dataclass(frozen=True)
class News:
    """What is to be told after a check."""

    appeared: list[Finding] = field(default_factory=list)
    reminded: list[Finding] = field(default_factory=list)
    resolved: list[Finding] = field(default_factory=list)


@dataclass
class Told:
    """The memory of one process that watches."""

    _told: dict[Key, tuple[Finding, datetime]] = field(default_factory=dict)
    _before: frozenset[Key] = frozenset()

    def news(self, findings: Iterable[Finding], now: datetime) -> News:
        """Compare a check's findings with what was told, and take it that the news will be told."""
        found = {finding.key: finding for finding in findings}
        news = News()
        for key, finding in found.items():
            if key in self._told:
                if now - self._told[key][1] >= REMIND_AFTER:
                    news.reminded.append(finding)
            elif finding.code not in UNSTEADY or key in self._before:
                news.appeared.append(finding)
        self._told |= {finding.key: (finding, now) for finding in news.appeared + news.reminded}
        news.resolved.extend(self._forget(found))
        self._before = frozenset(found)
        return news

    def _forget(self, found: dict[Key, Finding]) -> list[Finding]:
        """What is no longer found, unless whoever knows of it could not be asked."""
        over = [key for key in self._told if key not in found and not any(_hides(one, key) for one in found)]
        return [self._told.pop(key)[0] for key in over]


def _hides(found: Key, other: Key) -> bool:
    """Whether, while the one is found, nothing is known of the other."""
    subjects = {found[1], other[1]} - {""}
    return found[0] in NEEDS.get(other[0], frozenset()) and len(subjects) <= 1
