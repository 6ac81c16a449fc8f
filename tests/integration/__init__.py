"""The whole path of a file on a real PostgreSQL and a real S3 server, without Airflow."""
