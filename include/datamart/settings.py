"""Settings that are no secret: environment variables with the prefix ``DATAMART_``, read once per task.

Secrets (passwords, keys) are in Airflow connections, never here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from datamart.errors import ConfigurationError

_PREFIX = "DATAMART_"


class Settings(BaseSettings):
    """One frozen object; its fields are the whole list of settings."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid")

    data_bucket: str = "datamart-data"
    backup_bucket: str = "datamart-backup"
    unknown_reference: Literal["warn", "reject"] = "warn"
    reject_threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of rejected rows above which a file is rejected whole; unset: only when all rows are bad."""
    fail_runs_on_rejected_files: bool = False
    """Runs that judged a file as rejected - uploads, landed files, dry runs - end as failed, for alerts on failed
    runs."""
    chunk_bytes: Annotated[int, Field(ge=1024, le=256 * 1024 * 1024)] = 8 * 1024 * 1024
    """Bytes of CSV that are validated at a time."""
    part_rows: Annotated[int, Field(ge=1)] = 1_000_000
    """Rows in one part of clean parquet or of a backup, about."""

    range_bytes: Annotated[int, Field(ge=64 * 1024)] | None = None
    """A historic load cleans files of twice as many bytes or more in ranges of about so many, by tasks beside each
    other; unset: each file is one task's."""

    landing_poll_seconds: Annotated[float, Field(ge=0.1, le=300)] = 1
    """How often the landing folder is listed while nothing lies there."""
    landing_queue: str | None = None
    """URL of an SQS queue that is told of files that land; unset: the landing folder is looked into all the time."""
    landing_queue_connection: str = "object_store"
    """The Airflow connection by which that queue is reached."""
    partial_minutes: Annotated[float, Field(ge=0)] = 60
    """How long a landed file whose name says that it is not complete is left alone before it is refused."""
    hold_seconds: Annotated[float, Field(ge=1)] = 60
    """How long a file that a fault kept from being loaded waits; each further fault doubles it."""
    hold_most_seconds: Annotated[float, Field(ge=1)] = 6 * 3600
    """The longest that such a file waits for its next try."""

    late_minutes: Annotated[float, Field(gt=0)] = 15
    """A file in the landing folder, or an insight behind its tables, is late after so long."""
    backup_hours: Annotated[float, Field(gt=0)] | None = 26
    """A newest backup older than this is missed; empty: backups are not watched."""
    backup_keep_days: Annotated[int, Field(ge=1)] | None = 35
    """How long backups are kept, and with them every moment of a table; empty: for ever."""
    backup_keep_count: Annotated[int, Field(ge=1)] = 7
    """So many of each table's newest backups stay however old they are."""
    watch_seconds: Annotated[float, Field(ge=1)] = 60
    """How often the process that watches asks whether all is well."""

    alert_email: str | None = None
    """Addresses, separated by commas, that are told; unset: no e-mail."""
    alert_email_connection: str = "alert_email"
    """The Airflow connection of the mail server."""
    alert_webhook: str | None = None
    """The Airflow connection of the HTTP address that is told; unset: none."""

    public_insights: bool = False
    """Anybody may read the insights by REST, as in the API that this one replaces."""

    analyst_role: str | None = None
    """A login of the warehouse for people, who may read tables and insights but no rejected row; unset: none."""

    clean_keep_days: Annotated[int, Field(ge=1)] | None = 90
    """How long clean parquet is kept that no backup needs; empty: for ever."""
    rejects_keep_days: Annotated[int, Field(ge=1)] | None = 90
    """How long rejected rows, which hold personal data, are kept; empty: for ever."""
    quarantine_keep_days: Annotated[int, Field(ge=1)] | None = 90
    """How long refused files are kept; empty: for ever."""
    uploads_keep_days: Annotated[int, Field(ge=1)] | None = 7
    """How long uploads that were not loaded, and answers of dry runs, are kept; empty: for ever."""
    metadata_keep_days: Annotated[int, Field(ge=1)] | None = 30
    """How long Airflow remembers runs; empty: for ever."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # its names are those of the class above
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what ``load_settings`` passes: it reads the environment, or the mapping that it is given, alone."""
        return (init_settings,)


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings in force; an empty value is none, which switches off what can be switched off.

    Raises:
        ConfigurationError: a value does not fit, or a ``DATAMART_`` variable is unknown (most often a typo).
    """
    given = {
        key[len(_PREFIX) :].lower(): value or None
        for key, value in (os.environ if environment is None else environment).items()
        if key.startswith(_PREFIX)
    }
    unknown = sorted(set(given) - set(Settings.model_fields))
    if unknown:
        names = ", ".join(_PREFIX + name.upper() for name in unknown)
        known = ", ".join(_PREFIX + name.upper() for name in Settings.model_fields)
        raise ConfigurationError(f"Unknown settings: {names}. Known are: {known}.")
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        wrong = "; ".join(f"{_PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise ConfigurationError(f"Settings that cannot work: {wrong}.") from None
