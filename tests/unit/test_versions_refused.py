"""What the health check says when rights to use versions of objects are missing."""

from __future__ import annotations

from datamart.health import Code, versions_refused

TAGS = "s3:GetObjectVersionTagging"


def test_nothing_is_said_when_no_right_is_missing() -> None:
    assert versions_refused(()) == []


def test_without_the_right_to_tags_only_files_that_have_some_are_concerned() -> None:
    (found,) = versions_refused((TAGS,))
    assert (found.code, found.severity) == (Code.VERSIONS_REFUSED, "warning")
    assert f"S3 refuses {TAGS} in the data bucket, so versions of landed files that have tags are not" in found.message


def test_without_more_rights_all_files_are_concerned() -> None:
    (found,) = versions_refused(("s3:GetObjectVersion", TAGS))
    assert (
        f"S3 refuses s3:GetObjectVersion, {TAGS} in the data bucket, so versions of landed files are" in found.message
    )
