"""Settings that are no secret: environment variables with the prefix ``DATAMART_``, read once per task.

Secrets (passwords, keys) are in Airflow connections, never here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

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
    chunk_bytes: Annotated[int, Field(ge=1024, le=256 * 1024 * 1024)] = 8 * 1024 * 1024
    """Bytes of CSV that are validated at a time."""
    part_rows: Annotated[int, Field(ge=1)] = 1_000_000
    """Rows in one clean parquet part."""


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings in force.

    Raises:
        ConfigurationError: a value does not fit, or a ``DATAMART_`` variable is unknown (most often a typo).
    """
    given = {
        key[len(_PREFIX) :].lower(): value
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
