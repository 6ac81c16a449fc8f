"""The only code under ``include/`` that imports Airflow: connections become clients, verdicts become task states."""
