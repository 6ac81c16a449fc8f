"""Loads, guards and serves hiring data: plain Python that takes clients and values, free of Airflow."""
