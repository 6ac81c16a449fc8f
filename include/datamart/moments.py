"""Moments as text, for programs and from people."""

from __future__ import annotations

from datetime import UTC, datetime

from datamart.errors import ImpossibleRequest


def utc(moment: datetime) -> str:
    """ISO 8601 in UTC without a plus sign, which an address would turn into a space."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def moment_of(text: str) -> datetime:
    """A moment as people write it: ISO 8601, with a zone or in UTC.

    Raises:
        ImpossibleRequest: it is none.
    """
    try:
        found = datetime.fromisoformat(text.strip())
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ImpossibleRequest(
            f"'{text[:40]}' is no moment. Write it as 2026-11-25T14:05:00Z, in UTC or with an offset."
        ) from None
