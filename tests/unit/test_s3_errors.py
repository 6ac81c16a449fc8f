"""Fault 72: what each error of S3 leads to, and that its message names cause and remedy."""

from __future__ import annotations

import boto3
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError
from botocore.stub import Stubber

from datamart.errors import ConfigurationError, DatamartError, SourceChanged, TerminalFault, TransientFault
from datamart.s3_errors import ERRORS, AccessRefused, s3_faults

WHERE = "s3://bucket/landing/jobs.csv"
CHANGED, RETRY, WAIT, GIVE_UP = SourceChanged, TransientFault, TerminalFault, ConfigurationError

ROWS: dict[str, tuple[type[DatamartError], str]] = {
    "PreconditionFailed": (CHANGED, "replaced or removed"),
    "412": (CHANGED, "replaced or removed"),
    "ConditionalRequestConflict": (CHANGED, "replaced or removed"),
    "NoSuchKey": (CHANGED, "replaced or removed"),
    "NoSuchVersion": (CHANGED, "replaced or removed"),
    "404": (CHANGED, "replaced or removed"),
    "NotFound": (CHANGED, "replaced or removed"),
    "SlowDown": (RETRY, "busy"),
    "ServiceUnavailable": (RETRY, "busy"),
    "InternalError": (RETRY, "fault of its own"),
    "RequestTimeout": (RETRY, "busy"),
    "OperationAborted": (RETRY, "busy"),
    "Throttling": (RETRY, "busy"),
    "ThrottlingException": (RETRY, "busy"),
    "RequestLimitExceeded": (RETRY, "busy"),
    "TooManyRequests": (RETRY, "busy"),
    "KMS.ThrottlingException": (RETRY, "busy"),
    "KMS.KMSInternalException": (RETRY, "fault of its own"),
    "KMS.DependencyTimeoutException": (RETRY, "busy"),
    "ExpiredToken": (RETRY, "credentials of the connection object_store are expired"),
    "ExpiredTokenException": (RETRY, "renew them"),
    "TokenRefreshRequired": (RETRY, "renew them"),
    "InvalidToken": (RETRY, "not valid; renew them"),
    "400": (RETRY, "gives no reason, as when credentials have expired. Renew those"),
    "BadDigest": (RETRY, "damaged or cut off on the way"),
    "IncompleteBody": (RETRY, "damaged or cut off on the way"),
    "XAmzContentSHA256Mismatch": (RETRY, "damaged or cut off on the way"),
    "NoSuchUpload": (RETRY, "multipart upload has ended .* starts a new one"),
    "InvalidPart": (RETRY, "multipart upload has ended .* starts a new one"),
    "AccessDenied": (WAIT, "object_store connection's rights"),
    "403": (WAIT, "object_store connection's rights"),
    "Forbidden": (WAIT, "object_store connection's rights"),
    "InvalidAccessKeyId": (WAIT, "access key exists and is active"),
    "SignatureDoesNotMatch": (WAIT, "access key exists and is active"),
    "KMS.DisabledException": (WAIT, "KMS key that encrypts the object cannot be used. Enable"),
    "KMS.NotFoundException": (WAIT, "restore the key in AWS KMS"),
    "KMS.KMSInvalidStateException": (WAIT, "restore the key in AWS KMS"),
    "InvalidObjectState": (WAIT, "Glacier .* Restore the object"),
    "ObjectNotInActiveTierError": (WAIT, "Glacier .* Restore the object"),
    "RequestTimeTooSkewed": (WAIT, "set the clock"),
    "RequestExpired": (WAIT, "set the clock"),
    "AllAccessDisabled": (WAIT, "ask AWS support"),
    "AccountProblem": (WAIT, "ask AWS support"),
    "NotSignedUp": (WAIT, "ask AWS support"),
    "NoSuchBucket": (GIVE_UP, "bucket does not exist .* Check DATAMART_DATA_BUCKET"),
    "InvalidBucketName": (GIVE_UP, "Check DATAMART_DATA_BUCKET"),
    "PermanentRedirect": (GIVE_UP, "another region"),
    "301": (GIVE_UP, "correct region_name and endpoint_url"),
    "AuthorizationHeaderMalformed": (GIVE_UP, "another region"),
    "IllegalLocationConstraintException": (GIVE_UP, "another region"),
    "NotImplemented": (GIVE_UP, "does not know the request; use a newer version"),
    "501": (GIVE_UP, "does not know the request"),
    "KeyTooLongError": (GIVE_UP, "rename the file"),
    "InvalidURI": (GIVE_UP, "rename the file"),
}


def raised(code: str, status: int = 400) -> DatamartError:
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    with pytest.raises(DatamartError) as found, s3_faults(WHERE):
        raise ClientError(answer, "GetObject")  # type: ignore[arg-type]
    return found.value


def test_each_row_of_the_table_is_expected_here() -> None:
    assert set(ROWS) == set(ERRORS)


@pytest.mark.parametrize("code", ROWS)
def test_an_error_is_retried_waited_for_or_given_up_with_cause_and_remedy(code: str) -> None:
    kind, told = ROWS[code]
    error = raised(code)
    assert isinstance(error, kind)
    assert isinstance(error, AccessRefused) == (code in ("AccessDenied", "403", "Forbidden"))
    assert str(error).startswith(WHERE)
    with pytest.raises(kind, match=told):
        raise error
    assert f"({code})" in str(error) or f"S3 answered {code}." in str(error)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("KMS.InvalidKeyUsageException", 400, WAIT),
        ("MalformedXML", 400, WAIT),
        ("SomethingNew", 409, RETRY),
        ("SomethingNew", 429, RETRY),
        ("SomethingNew", 500, RETRY),
        ("503", 503, RETRY),
        ("507", 507, RETRY),
        ("", 0, RETRY),
    ],
)
def test_a_code_that_the_table_does_not_name_is_judged_by_its_kind_and_status(
    code: str, status: int, kind: type[DatamartError]
) -> None:
    assert isinstance(raised(code, status), kind)


def test_a_head_request_with_an_expired_token_is_retried() -> None:
    """An answer to HEAD has no body, so botocore takes its status for the code."""
    client = boto3.client("s3", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    with Stubber(client) as server:
        server.add_client_error("head_object", "400", "Bad Request", 400)
        with pytest.raises(TransientFault, match=r"S3 answered 400.* Renew"), s3_faults(WHERE):
            client.head_object(Bucket="bucket", Key="landing/jobs.csv")


def test_a_server_that_cannot_be_reached_is_retried() -> None:
    with pytest.raises(TransientFault, match=r"S3 could not be reached \(ConnectTimeoutError\)"), s3_faults(WHERE):
        raise ConnectTimeoutError(endpoint_url="http://127.0.0.1:9")
