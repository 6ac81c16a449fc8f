"""Which known name an unknown one is taken for."""

from __future__ import annotations

import pytest

from datamart.parameter_names import nearest_name, shown_name, unknown_name

UPLOAD = ("file", "wait", "dry_run", "repairs", "username", "password", "Idempotency-Key")
INSIGHTS = ("table", "limit", "year", "format", "fresh")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("dryRun", "dry_run"), ("dry-run", "dry_run"), ("DRY_RUN", "dry_run"), ("dryrun", "dry_run"),
        ("dry.run", "dry_run"), ("dry", "dry_run"), ("dry_rum", "dry_run"), ("dyr_run", "dry_run"),
        ("dry_run ", "dry_run"), ("repair", "repairs"), ("files", "file"), ("file[]", "file"), ("Wait", "wait"),
        ("idempotency_key", "Idempotency-Key"), ("idempotencyKey", "Idempotency-Key"), ("user", "username"),
        ("waitt", "wait"), ("file_2", "file"), ("only_dry_run", "dry_run"), ("test_dry_run", "dry_run"),
        ("dry_run_only", "dry_run"), ("isDryRunEnabled", "dry_run"), (f"{'please_' * 20}dry_run", "dry_run"),
        ("amp;dry_run", "dry_run"), ("AMP;wait", "wait"), ("amp;amp;file", "file"),
        ("X-Idempotency-Key", "Idempotency-Key"),
    ],
)  # fmt: skip
def test_spellings_and_typing_errors_of_an_upload(name: str, meant: str) -> None:
    assert nearest_name(name, UPLOAD) == meant


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("yaer", "year"),
        ("years", "year"),
        ("Year", "year"),
        ("tabel", "table"),
        ("fromat", "format"),
        ("lmit", "limit"),
        ("amp;year", "year"),
        ("Amp;table", "table"),
        ("output_format", "format"),
    ],
)
def test_spellings_and_typing_errors_of_the_insights(name: str, meant: str) -> None:
    assert nearest_name(name, INSIGHTS) == meant


@pytest.mark.parametrize("known", [UPLOAD, INSIGHTS], ids=["upload", "insights"])
@pytest.mark.parametrize(
    "name",
    [
        "_", "t", "ts", "v", "cb", "nocache", "cachebuster", "timestamp", "time", "rand", "r", "", "é", "utm_source",
        "grant_type", "scope", "client_id", "client_secret", "redirect_uri", "state", "code", "access_token",
        "filename", "fileName", "fileSize", "file_type", "filetype", "waiting_room", "profile", "amp;_", "amp;", "amp",
    ],
)  # fmt: skip
def test_cache_busters_and_oauth_fields_resemble_no_name(name: str, known: tuple[str, ...]) -> None:
    assert nearest_name(name, known) is None


@pytest.mark.parametrize("name", ["user", "user_id", "pass", "usernames_of_team", "old_password"])
def test_names_that_are_compared_as_a_whole_may_have_companions(name: str) -> None:
    assert nearest_name(name, UPLOAD, whole=("username", "password")) is None


@pytest.mark.parametrize(
    ("name", "meant"),
    [("userName", "username"), ("usernam", "username"), ("amp;username", "username"), ("passwrd", "password")],
)
def test_names_that_are_compared_as_a_whole_may_be_mistyped(name: str, meant: str) -> None:
    assert nearest_name(name, UPLOAD, whole=("username", "password")) == meant


def test_a_name_that_is_never_ending_is_compared_in_no_time() -> None:
    assert nearest_name("x" * 1_000_000, UPLOAD) is None


def test_the_sentence_names_the_nearest_name_or_else_all_of_them() -> None:
    assert unknown_name("dryRun", ["table", "dry_run"]) == "There is no parameter 'dryRun'. Did you mean 'dry_run'?"
    assert unknown_name("x", ["bb", "aa"], "conf key") == "There is no conf key 'x'. Known: aa, bb."
    assert unknown_name("x", []) == "There is no parameter 'x'. No parameter is accepted here."


@pytest.mark.parametrize("name", ['"\r\nSet-Cookie: a', "é\u2028", "\\", "x" * 500])
def test_a_quoted_name_fits_a_header(name: str) -> None:
    shown = shown_name(name)
    assert shown.isascii()
    assert shown.isprintable()
    assert not set(shown) & {'"', "\\"}
    assert len(shown) < 70
