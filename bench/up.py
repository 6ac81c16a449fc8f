"""python -m bench.up: ``python -m embedded up``, with the peers' Dags beside the project's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from embedded import environment
from embedded.__main__ import main
from embedded.settings import Settings
from embedded.stacksecrets import Secrets

PEER_DAGS = Path(__file__).resolve().parent / "peer_dags"
_BUNDLES = "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"
_LOCAL = "airflow.dag_processing.bundles.local.LocalDagBundle"

_product = environment.airflow


def airflow(settings: Settings, secrets: Secrets) -> dict[str, str]:
    """The product's settings of Airflow, to the last one, and one more folder of Dags."""
    bundles = [
        {"name": "dags-folder", "classpath": _LOCAL, "kwargs": {}},
        {"name": "peers", "classpath": _LOCAL, "kwargs": {"path": str(PEER_DAGS)}},
    ]
    return _product(settings, secrets) | {_BUNDLES: json.dumps(bundles)}


if __name__ == "__main__":
    environment.airflow = airflow
    sys.exit(main(["up"]))
