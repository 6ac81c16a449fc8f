"""What to say when the settings of OpenLineage's provider cannot be read; nothing of the product is imported here."""

from __future__ import annotations


def words(error: Exception) -> str:
    """For people. Of the error only its kind: its message may quote a transport, and a key of a server with it."""
    return (
        f"Nobody is told of lineage: OpenLineage's settings cannot be read ({type(error).__name__}). "
        'AIRFLOW__OPENLINEAGE__TRANSPORT is to be a JSON object, for instance {"type": "http", "url": '
        '"http://127.0.0.1:5000"}, and AIRFLOW__OPENLINEAGE__DISABLED, if it is set, True or False. Mend that of the '
        "two which is not, and start Airflow again. All else goes on without it."
    )
