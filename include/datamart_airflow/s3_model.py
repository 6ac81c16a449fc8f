"""botocore's description of S3, read once: a process that tasks are forked from imports this, so that they need not.

There is nothing else in here: a process that imports it ahead keeps no code of a version that is gone.
"""

from __future__ import annotations

from botocore.loaders import Loader, create_loader
from botocore.session import Session


def _read() -> Loader:
    """A loader that has read what a client of S3 needs: megabytes of JSON, most of them endpoints."""
    loader: Loader = create_loader()
    session = Session()
    session.register_component("data_loader", loader)
    session.create_client("s3", region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none")  # nosec B106  # asks nobody
    return loader


S3_MODEL = _read()
