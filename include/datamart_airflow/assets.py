"""One asset a table: an event on it means that rows of the table changed."""

from __future__ import annotations

from collections.abc import Iterable

from airflow.sdk import Asset, AssetAlias, get_current_context

from datamart.tables import TABLES

# Airflow asks its providers about every scheme that does not start with "x-": that would import boto3 at each parse.
TABLE_ASSETS = {table.name: Asset(name=table.name, uri=f"x-datamart://warehouse/{table.name}") for table in TABLES}

CHANGED = "changed_tables"
"""Alias under which a load announces the tables whose rows changed; nothing changed, no event."""


def announce(tables: Iterable[str | None]) -> None:
    """One event for each of the tables, from the current task."""
    events = get_current_context()["outlet_events"][AssetAlias(CHANGED)]
    for table in sorted(set(filter(None, tables))):
        events.add(TABLE_ASSETS[table])
