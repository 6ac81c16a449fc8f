"""What each error of S3 means: retry, wait for a person, or give up, with a sentence that names cause and remedy.

The table ``ERRORS`` decides. A code that it does not name is judged by its HTTP status (``_by_status``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from datamart.errors import ConfigurationError, DatamartError, SourceChanged, TerminalFault, TransientFault


class Reaction(Enum):
    """What the project does about an error; the value is the kind of error that says so."""

    CHANGED = SourceChanged
    """The object is not the listed one any more: a new object is another arrival."""
    RETRY = TransientFault
    """The same request can succeed soon: retry at once, then after growing pauses."""
    WAIT = TerminalFault
    """A person must act first: a landed file is on hold, any other run fails at once."""
    GIVE_UP = ConfigurationError
    """A setting, a name or a server that cannot work: the run fails at once."""


class S3Error(NamedTuple):
    """One row of the table: the reaction, and what a message says after naming the object."""

    reaction: Reaction
    text: str


class AccessRefused(TerminalFault):
    """S3 refused a right; the caller may have another way that needs fewer rights."""


_CHANGED = S3Error(Reaction.CHANGED, "was replaced or removed after it was listed ({code}).")
_BUSY = S3Error(Reaction.RETRY, "S3 answered {code}. It is busy or has a fault of its own.")
_RIGHTS = S3Error(Reaction.WAIT, "S3 refused ({code}). Check the object_store connection's rights.")
_KEYS = S3Error(
    Reaction.WAIT,
    "S3 refused ({code}). Check the object_store connection's rights and that its access key exists and is active.",
)
_EXPIRED = S3Error(
    Reaction.RETRY,
    "S3 answered {code}. The credentials of the connection object_store are expired or not valid; renew them.",
)
_NO_REASON = S3Error(
    Reaction.RETRY,
    "S3 answered {code}. It gives no reason, as when credentials have expired. Renew those of the connection "
    "object_store, and check its region_name.",
)
"""An answer to a HEAD request has no body: the status is all that S3 says of an expired token."""
_DAMAGED = S3Error(Reaction.RETRY, "S3 answered {code}. The bytes were damaged or cut off on the way.")
_UPLOAD_ENDED = S3Error(
    Reaction.RETRY,
    "S3 answered {code}. The multipart upload has ended or a part of it is gone; a retry starts a new one.",
)
_CLOCK = S3Error(
    Reaction.WAIT, "S3 refused ({code}). The clock of this machine differs from that of S3; set the clock."
)
_KMS_KEY = S3Error(
    Reaction.WAIT,
    "S3 answered {code}. The KMS key that encrypts the object cannot be used. Enable or restore the key in AWS KMS, "
    "or have the file sent again.",
)
_ARCHIVED = S3Error(
    Reaction.WAIT,
    "S3 answered {code}. The object is in an archive storage class (S3 Glacier or an archive tier) and cannot be "
    "read. Restore the object in S3 and wait until the restore is complete.",
)
_ACCOUNT = S3Error(Reaction.WAIT, "S3 refused ({code}). AWS has restricted the account or the bucket; ask AWS support.")
_BUCKET = S3Error(
    Reaction.GIVE_UP,
    "the bucket does not exist ({code}). Check DATAMART_DATA_BUCKET and DATAMART_BACKUP_BUCKET.",
)
_REGION = S3Error(
    Reaction.GIVE_UP,
    "S3 answered {code}. The bucket is in another region or at another address; correct region_name and endpoint_url "
    "of the connection object_store.",
)
_UNABLE = S3Error(
    Reaction.GIVE_UP,
    "S3 answered {code}. This S3 server does not know the request; use a newer version of it or another S3 server.",
)
_NAME = S3Error(Reaction.GIVE_UP, "S3 answered {code}. S3 does not accept the name of the object; rename the file.")
_OTHER = S3Error(Reaction.WAIT, "S3 refused ({code}). See the documentation of your S3 server for this error code.")

ERRORS: dict[str, S3Error] = {
    **dict.fromkeys(("PreconditionFailed", "412", "ConditionalRequestConflict"), _CHANGED),
    **dict.fromkeys(("NoSuchKey", "NoSuchVersion", "404", "NotFound"), _CHANGED),
    **dict.fromkeys(("SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "OperationAborted"), _BUSY),
    **dict.fromkeys(("Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests"), _BUSY),
    **dict.fromkeys(("KMS.ThrottlingException", "KMS.KMSInternalException", "KMS.DependencyTimeoutException"), _BUSY),
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken"), _EXPIRED),
    **dict.fromkeys(("400",), _NO_REASON),
    **dict.fromkeys(("BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch"), _DAMAGED),
    **dict.fromkeys(("NoSuchUpload", "InvalidPart"), _UPLOAD_ENDED),
    **dict.fromkeys(("AccessDenied", "403", "Forbidden"), _RIGHTS),
    **dict.fromkeys(("InvalidAccessKeyId", "SignatureDoesNotMatch"), _KEYS),
    **dict.fromkeys(("KMS.DisabledException", "KMS.NotFoundException", "KMS.KMSInvalidStateException"), _KMS_KEY),
    **dict.fromkeys(("InvalidObjectState", "ObjectNotInActiveTierError"), _ARCHIVED),
    **dict.fromkeys(("RequestTimeTooSkewed", "RequestExpired"), _CLOCK),
    **dict.fromkeys(("AllAccessDisabled", "AccountProblem", "NotSignedUp"), _ACCOUNT),
    **dict.fromkeys(("NoSuchBucket", "InvalidBucketName"), _BUCKET),
    **dict.fromkeys(("PermanentRedirect", "301", "AuthorizationHeaderMalformed"), _REGION),
    **dict.fromkeys(("IllegalLocationConstraintException",), _REGION),
    **dict.fromkeys(("NotImplemented", "501"), _UNABLE),
    **dict.fromkeys(("KeyTooLongError", "InvalidURI"), _NAME),
}

_REFUSED_RIGHT = {"AccessDenied", "403", "Forbidden"}
_PASSING_STATUS = {408, 409, 425, 429}


def error_for(code: str, status: int = 0) -> S3Error:
    """The row for an error code; for a code that the table does not name, what its kind or HTTP status implies."""
    if code in ERRORS:
        return ERRORS[code]
    if code.startswith("KMS."):
        return _KMS_KEY
    return _by_status(int(code) if code.isascii() and code.isdigit() else status)


def _by_status(status: int) -> S3Error:
    """A request that the server calls wrong (4xx) is wrong at the next try too; any other error can pass."""
    return _OTHER if 400 <= status < 500 and status not in _PASSING_STATUS else _BUSY


def fault_of(code: str, where: str, status: int = 0) -> DatamartError:
    """The project's error for an error code of S3; ``where`` names the object for the message."""
    row = error_for(code, status)
    said = row.text.format(code=code or "an error")
    message = f"{where} {said}" if row.reaction is Reaction.CHANGED else f"{where}: {said}"
    if code in _REFUSED_RIGHT:
        return AccessRefused(message)
    kind: type[DatamartError] = row.reaction.value
    return kind(message)


@contextmanager
def s3_faults(where: str) -> Iterator[None]:
    """What S3 or the way to it answers, as this project's errors; ``where`` names the object for the message."""
    try:
        yield
    except ClientError as error:
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        raise fault_of(str(error.response.get("Error", {}).get("Code", "")), where, status) from None
    except BotoCoreError as error:
        raise TransientFault(f"{where}: S3 could not be reached ({type(error).__name__}).") from None
