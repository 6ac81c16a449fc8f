"""What all Dags have in common; retries and alerts are each Dag's own."""

from __future__ import annotations

from typing import Any

from datamart_airflow.run_conf import refuse_unknown_conf

DEFAULT_ARGS: dict[str, Any] = {"owner": "datamart", "pre_execute": refuse_unknown_conf}
