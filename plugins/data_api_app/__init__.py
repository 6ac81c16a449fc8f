"""The REST API that Airflow's API server mounts under ``/data-api``; ``factory`` puts it together."""
