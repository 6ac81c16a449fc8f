"""What the routes answer, as models: the description is made of them, and shows them to programs and people."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Error(BaseModel):
    """Why there is no other answer."""

    error: str = Field(description="What happened, and what to do.")


class RowError(BaseModel):
    """One reason of one rejected row."""

    line: int = Field(description="Its first line in the file.")
    column: str | None = Field(description="The column it is about; null: the row as a whole.")
    reason: str = Field(description="missing, not_an_integer, out_of_range, not_a_datetime, bad_quote, too_long, ...")
    expected: str | None = Field(None, description="The form that the value must have, where the reason is about one.")


class Counts(BaseModel):
    """Rows by what became of them; they add up to the rows read."""

    inserted: int
    updated: int
    unchanged: int
    rejected: int


class UploadAnswer(BaseModel):
    """What became of an upload."""

    file: str
    type: str = Field(description="The table.")
    columns: list[str]
    rows: int = Field(description="Rows read.")
    result: str
    nrows_inserted: int = Field(
        description="Rows that this file has put into the table: new and updated ones; `counts` has the unchanged."
    )
    rows_failed: list[dict[str, str]] = Field(description="Rejected rows with their values as sent.")
    nrows_failed: int
    duration: float = Field(alias="duration(s)", description="Seconds from the request to the verdict.")
    verdict: str = Field(description="loaded, duplicate or rejected.")
    code: str | None = Field(description="Why the file as a whole was rejected.")
    dry_run: bool
    load_id: str | None = Field(description="Its number in the ledger; null for a dry run.")
    duplicate_of: str | None
    repairs: str | None
    counts: Counts
    warnings: dict[str, int] = Field(
        description="Rows that refer to nothing (yet), by column; `byte_order_marks`: lines that began with one."
    )
    errors: list[RowError]
    upload_id: str
    links: dict[str, str]


class Pending(BaseModel):
    """The file is still being loaded."""

    result: str
    verdict: None = None
    upload_id: str
    links: dict[str, str]


class Load(BaseModel):
    """A load as the ledger has it."""

    load_id: str
    table: str | None
    file: str
    key: str
    version: str
    sha256: str | None
    bytes: int | None
    mode: str
    verdict: str
    code: str | None
    message: str
    rows_read: int
    rows_inserted: int
    rows_updated: int
    rows_unchanged: int
    rows_rejected: int
    rows_removed: int
    blank_lines: int
    lines: dict[str, int] | None = Field(
        description="Physical lines: of the file, and of those in accepted rows, rejected rows, header, blank, ignored."
    )
    warnings: dict[str, int]
    started_at: str
    finished_at: str
    dag_id: str | None
    run_id: str | None
    repairs: str | None
    duplicate_of: str | None
    commit_seq: int | None
    rejects_expired_at: str | None
    undone_by: str | None = Field(description="The restore or undo that took its rows away; the file counts as new.")


class Loads(BaseModel):
    """A page of the ledger."""

    loads: list[Load]
    next: str | None = Field(description="What to send as `after` for the next page; null: this is the last.")


class Day(BaseModel):
    """A day of the ledger, UTC."""

    day: str
    loads: int
    rows_read: int
    rows_rejected: int


class Days(BaseModel):
    """Days on which files were judged."""

    days: list[Day]


class RejectedReason(BaseModel):
    """One reason of a rejected row."""

    column: str | None
    reason: str


class RejectedRow(BaseModel):
    """A rejected row as it was sent."""

    line: int
    values: list[str] | None = Field(description="By column; null when the row does not fit the columns.")
    text: str | None = Field(description="The row's text, when it does not fit the columns.")
    reasons: list[RejectedReason]


class RejectedRows(BaseModel):
    """A page of the rejected rows of a load."""

    load_id: str
    table: str
    columns: list[str] = Field(description="The file's own columns.")
    rows: list[RejectedRow]
    expected: dict[str, str] = Field(description="The form that a value must have, by the reason that is about it.")
    next: int | None = Field(description="What to send as `after` for the next page; null: this is the last.")


class NewestLoad(BaseModel):
    """The newest load of a table that is in the numbers."""

    table: str
    load_id: str
    file: str
    finished_at: str


class Charts(BaseModel):
    """What the charts of a year show."""

    year: int | None = Field(description="null: nobody was hired yet.")
    years: list[int]
    charts: dict[str, list[dict[str, Any]]]
    quarter_means: list[float | None]
    year_mean: float | None
    refreshed_at: str | None
    behind: bool
    complete_up_to: list[NewestLoad]


class BackupStarted(BaseModel):
    """A backup or a drill was started."""

    result: str
    duration: float = Field(alias="duration(s)", description="Seconds until it was started.")
    run_id: str
    links: dict[str, str]


class Changed(BaseModel):
    """What was done to a table, or what a dry run has found."""

    result: str
    duration: float | None = Field(alias="duration(s)", description="Seconds of the run.")
    table: str
    message: str
    added: int
    changed: int
    removed: int
    rows: int = Field(description="Rows of the table then.")
    commit_seq: int
    notes: list[str]
    note: str | None = Field(description="That nothing changed, as nothing was different; null: rows changed.")
    dry_run: bool
    refused: bool = Field(
        description="A dry run has found what the change would be refused for; see message and notes."
    )
    changed_seq: int | None = Field(description="Of a dry run: the table's newest change that it has seen.")
    at: str | None
    links: dict[str, str]


class Restored(Changed):
    """A table was restored, or what a dry run has found."""

    backup_id: str
    restore_id: str


class Undone(Changed):
    """A load was undone, or what a dry run has found."""

    backup_id: None
    undo_id: str


class Undoing(BaseModel):
    """The load is still being undone."""

    result: str
    undo_id: str
    links: dict[str, str]


class Restoring(BaseModel):
    """The table is still being restored."""

    result: str
    restore_id: str
    links: dict[str, str]


class BackupTable(BaseModel):
    """One table of a backup."""

    rows: int
    bytes: int
    parts: int
    commit_seq: int | None


class Backup(BaseModel):
    """A backup; of one whose manifest is damaged only the id is known, and why."""

    backup_id: str
    kind: str | None = Field(None, description="taken, or adopted from another program.")
    taken_at: str | None = None
    finished_at: str | None = None
    rows: int | None = None
    bytes: int | None = None
    tables: dict[str, BackupTable] | None = None
    proven_at: str | None = Field(None, description="When a drill restored it last; null: it was not drilled with.")
    damaged: str | None = None


class Proven(BaseModel):
    """The newest backup that was proven restorable."""

    backup_id: str
    proven_at: str


class Backups(BaseModel):
    """The backups there are."""

    backups: list[Backup]
    next: str | None = Field(description="What to send as `after` for the next page; null: this is the last.")
    last_proven: Proven | None


class Finding(BaseModel):
    """One thing that is not well."""

    code: str
    severity: str
    subject: str
    message: str
    since: str | None


class Health(BaseModel):
    """Is all well?"""

    healthy: bool
    findings: list[Finding]
