"""A queue as S3 fills it: moto's SQS server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import boto3
from moto.server import ThreadedMotoServer


def told(*keys: str) -> str:
    """A message as S3 writes it."""
    records = [
        {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "data"}, "object": {"key": key}}} for key in keys
    ]
    return json.dumps({"Records": records})


class Queue:
    """A queue whose messages are shown again after so many seconds, unless they are removed."""

    def __init__(self, port: int, seconds: int = 30) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.client = boto3.client(
            "sqs", endpoint_url=self.endpoint, region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s"
        )
        self.name = f"landed-{uuid4().hex}"  # moto keeps its queues when its server ends
        made = self.client.create_queue(QueueName=self.name, Attributes={"VisibilityTimeout": str(seconds)})
        self.url: str = made["QueueUrl"]

    def send(self, body: str) -> None:
        self.client.send_message(QueueUrl=self.url, MessageBody=body)

    @property
    def variables(self) -> dict[str, str]:
        """How Airflow's processes find it."""
        extra = {"endpoint_url": self.endpoint, "region_name": "us-east-1"}
        held = {"conn_type": "aws", "login": "k", "password": "s", "extra": extra}
        return {
            "AIRFLOW_CONN_LANDING_QUEUE": json.dumps(held),
            "DATAMART_LANDING_QUEUE": self.url,
            "DATAMART_LANDING_QUEUE_CONNECTION": "landing_queue",
        }

    @property
    def left(self) -> int:
        wanted = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=wanted)["Attributes"]
        return sum(int(found[name]) for name in wanted)


@contextmanager
def queued(seconds: int = 30) -> Iterator[Queue]:
    """A queue for as long as the block lasts."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield Queue(server.get_host_and_port()[1], seconds)
    finally:
        server.stop()
