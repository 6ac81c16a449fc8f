"""The embedded stack: PostgreSQL, S3 and Airflow from wheels, started and ended by one command."""
