"""What is to be done for a statement."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """The backend runs it; ``passed`` when its own protocol messages may go through, else as one simple query."""

    sql: str
    passed: bool = True
    outside: bool = False
    """Refused in a transaction."""
    commits: bool = False
    """Ends the transaction that it runs in."""
    counts: bool = False
    """Asks how many rows the last COPY or UNLOAD had."""
    tag: str = ""
    """What the client is told that was done, when that is not what the backend says."""


@dataclass(frozen=True)
class Copy:
    """Files that a manifest lists go into a table."""

    table: str
    manifest: str


@dataclass(frozen=True)
class Unload:
    """A query's rows go into files."""

    query: str
    prefix: str
    parallel: bool
    max_bytes: int | None


Plan = Run | Copy | Unload
