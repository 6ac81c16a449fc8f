"""What a task read and wrote, as OpenLineage's provider for Airflow tells it; by default nobody is told.

The provider asks an operator's ``get_openlineage_facets_on_complete`` when its task has ended. Tasks here are
functions, so the running task is given that method, which the provider documents for operators of one's own. Airflow's
collector of hooks' lineage would do too, but knows no numbers of rows and first imports what each provider has of
datasets, which takes seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context

from datamart.datasets import Dataset, Flow, Places, server_name
from datamart.errors import sentence
from datamart.settings import load_settings
from datamart_airflow.clients import place_of
from datamart_airflow.lineage_fault import words

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

log = logging.getLogger(__name__)


def on() -> bool:
    """Whether anybody is told; where that cannot be read nobody is, which the log of the process says once."""
    try:
        from airflow.providers.openlineage import conf

        return not bool(conf.is_disabled())
    except Exception as error:  # noqa: BLE001 - told in the log: what lineage tells of is not to fail for it
        _say_once(words(error))
        return False


@cache
def _say_once(sentences: str) -> None:
    log.error("%s", sentences)


def tell(flow_of: Callable[[Places], Flow]) -> None:
    """Let the event of the current task say what it read and wrote; without one, ``flow_of`` is not asked.

    Never raises: what a task did is done, whether or not it can be told.
    """
    if not on():
        return
    try:
        flow = flow_of(_places())
    except Exception as error:  # noqa: BLE001 - told in the log
        log.warning("What this task read and wrote is not told. %s", sentence(error))
        return

    def facets(_task_instance: Any) -> OperatorLineage[Any, Any]:
        return _as_lineage(flow)

    task: Any = get_current_context()["task"]
    task.get_openlineage_facets_on_complete = facets


def _places() -> Places:
    kind, host, port, database = place_of("warehouse")
    settings = load_settings()
    return Places(server_name(kind, host, port), database, settings.data_bucket, settings.backup_bucket)


def _as_lineage(flow: Flow) -> OperatorLineage[Any, Any]:
    from airflow.providers.openlineage.extractors import OperatorLineage

    return OperatorLineage(inputs=_inputs(flow.read), outputs=_outputs(flow.written))


def _inputs(datasets: Iterable[Dataset]) -> list[Any]:
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import input_statistics_input_dataset as facet

    return [
        InputDataset(
            one.namespace,
            one.name,
            inputFacets={"inputStatistics": facet.InputStatisticsInputDatasetFacet(one.rows, one.bytes, one.files)},
        )
        for one in datasets
    ]


def _outputs(datasets: Iterable[Dataset]) -> list[Any]:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset as facet

    return [
        OutputDataset(
            one.namespace,
            one.name,
            outputFacets={"outputStatistics": facet.OutputStatisticsOutputDatasetFacet(one.rows, one.bytes, one.files)},
        )
        for one in datasets
    ]
