"""S3 from SeaweedFS's wheel: its identity file and the buckets."""

import json
import time
import urllib.error
import urllib.request
from pathlib import Path

from embedded.errors import StackError
from embedded.settings import BACKUP_BUCKET, DATA_BUCKET, REGION, Settings
from embedded.stacksecrets import Secrets, write_private

PROBE = "stack-probe"
SOCKETS = "/tmp"  # nosec B108  # the server's own choice


def write_identities(settings: Settings, secrets: Secrets) -> str:
    """Write the file with the one identity that may do everything; return its path."""
    file = settings.secrets_dir / "s3.json"
    identity = {
        "name": "datamart",
        "credentials": [{"accessKey": secrets.s3_access_key, "secretKey": secrets.s3_secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    write_private(file, json.dumps({"identities": [identity]}))
    return str(file)


def client(settings: Settings, secrets: Secrets):  # type: ignore[no-untyped-def]
    """A boto3 client for this stack, whatever the user's AWS configuration says."""
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=settings.s3_url,
        aws_access_key_id=secrets.s3_access_key,
        aws_secret_access_key=secrets.s3_secret_key,
        region_name=REGION,
        config=Config(retries={"max_attempts": 5}, s3={"addressing_style": "path"}, proxies={}),
    )


def is_ready(settings: Settings) -> bool:
    """Say whether the S3 gateway answers: without credentials, it must refuse."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(settings.s3_url, timeout=3):
            return False
    except urllib.error.HTTPError as error:
        return error.code == 403
    except OSError:
        return False


def ensure_buckets(settings: Settings, secrets: Secrets) -> None:
    """Make the two buckets unless they are there."""
    s3 = client(settings, secrets)
    existing = {bucket["Name"] for bucket in s3.list_buckets().get("Buckets", [])}
    for bucket in (DATA_BUCKET, BACKUP_BUCKET):
        if bucket not in existing:
            s3.create_bucket(Bucket=bucket)
    if PROBE not in existing:
        s3.create_bucket(Bucket=PROBE)
    _wait_for_volumes(s3)


def _wait_for_volumes(s3, seconds: float = 30) -> None:  # type: ignore[no-untyped-def]
    """The gateway answers before it knows where old objects are: wait until one of them can be read."""
    from botocore.exceptions import ClientError

    deadline = time.monotonic() + seconds
    while True:
        try:
            s3.get_object(Bucket=PROBE, Key="probe")["Body"].read()
            break
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                break
            if time.monotonic() > deadline:
                raise StackError("S3 does not give back an object of an earlier start: see s3.log") from error
        time.sleep(0.3)
    s3.put_object(Bucket=PROBE, Key="probe", Body=b"x" * 4096)


def remove_sockets(inner: dict[str, int]) -> None:
    """SeaweedFS leaves its inner sockets in /tmp, by port."""
    for port in inner.values():
        for file in Path(SOCKETS).glob(f"seaweedfs-*-{port}.sock"):
            file.unlink(missing_ok=True)
