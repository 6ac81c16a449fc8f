"""The plugin of OpenLineage's provider, imported once: a process that tasks are forked from imports this.

The plugin reads the provider's settings while it is imported. One that cannot be read is not to end the process, for
then no task would start any more. There is no rule in here: a process that imports it ahead keeps no code of a version
that is gone.
"""

from __future__ import annotations

import importlib
import logging

from datamart_airflow.lineage_fault import words

log = logging.getLogger(__name__)


def _import() -> None:
    try:
        importlib.import_module("airflow.providers.openlineage.plugins.openlineage")
    except Exception as error:  # noqa: BLE001 - told in the log: tasks are to be run without lineage
        log.error("%s", words(error))


_import()
