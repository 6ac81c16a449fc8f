"""The REST API in the process of the tests: no Airflow runs, only its auth manager is stood in for."""
