"""Nothing is dropped silently: rejected rows are kept as they came, can be repaired and sent again, and are counted."""

from __future__ import annotations

import pytest

from datamart.loads import Verdict
from tests.integration.world import World, upserted
from tests.oracle import rules

HIRES = "hired_employees"
REFERENCES = {"department_id": {1}, "job_id": {1}}


def rejects_file(world: World, table: str, load_id: int, suffix: str = "csv") -> bytes:
    return world.read(f"rejected/{table}/{table}_rejected_{load_id}.{suffix}")


def rejects_files(world: World, table: str, load_id: int) -> dict[str, bytes]:
    """All rejects files of a load, by suffix."""
    prefix = f"rejected/{table}/{table}_rejected_{load_id}."
    return {key.removeprefix(prefix): world.read(key) for key in world.keys(prefix)}


def expected_csv(header: str, load_id: int, *rows: tuple[int, str, bytes]) -> bytes:
    lines = [f"_line,_reasons,_load_id,{header}".encode()]
    lines += [f"{line},{reasons},{load_id},".encode() + raw for line, reasons, raw in rows]
    return b"\r\n".join(lines) + b"\r\n"


def test_rows_come_back_verbatim_behind_line_reasons_and_load(world: World) -> None:
    long = "é".encode() * 129
    body = b'1,a\r\n\r\n+2,"b\r\n""b"""\r\n3,\xff\r\nragged\r\n4,\r\n"x",""\r\n5,\x00,6\r\n6,' + long + b"\r\n"
    load_id = world.load("jobs.csv", body).load_id
    assert rejects_file(world, "jobs", load_id) == expected_csv(
        "id,job",
        load_id,
        (3, "id:not_an_integer", b'+2,"b\r\n""b"""'),
        (5, "job:bad_encoding", b"3,\xff"),
        (7, "job:missing", b"4,"),
        (8, "id:not_an_integer;job:missing", b'"x",""'),
        (10, "job:too_long", b"6," + long),
    )
    assert rejects_file(world, "jobs", load_id, "raw") == b"ragged\r\n5,\x00,6\r\n"
    assert world.rejected(load_id) == [(r.line, r.raw, r.reasons) for r in rules.judge("jobs", body).rejected]


def test_columns_come_back_in_the_order_of_the_file(world: World) -> None:
    load_id = world.load("jobs.csv", b"JOB,Id\nb,x\na,1\n").load_id
    assert rejects_file(world, "jobs", load_id) == expected_csv("job,id", load_id, (2, "id:not_an_integer", b"b,x"))


@pytest.mark.parametrize(
    ("body", "files"),
    [
        (b"1,a\n", []),
        (b"1,a\nx,b\n", ["csv"]),
        (b'1,a\n2,"b\n', ["csv", "raw"]),
        (b"x,a\n", ["csv"]),
        (b"", []),
        (b"id,x\n", []),
    ],
    ids=["none", "one", "unclosed quote", "all rows bad", "empty", "wrong header"],
)
def test_which_files_hold_them(world: World, body: bytes, files: list[str]) -> None:
    assert list(rejects_files(world, "jobs", world.load("jobs.csv", body).load_id)) == files


COPIED = {
    "rows and ragged rows": b"1,a\nx,b\nragged\n",
    "columns in another order": b"job,_note,ID\na,,1\nb,,x\n",
    "ignored columns of any name": b'"_a,b",id,"_two\nlines",job\n,1,,a\n,x,,b\n',
    "only ragged rows": b'1,a\n2\n3,"\n',
    "bytes that are no text": b"1,a\n\x00,\xff\n",
    "none": b"1,a\n",
}


@pytest.mark.parametrize("expired", [False, True], ids=["while the first ones are in S3", "after they expired there"])
@pytest.mark.parametrize("body", COPIED.values(), ids=COPIED)
def test_a_copy_keeps_its_rejected_rows_like_any_load(world: World, body: bytes, expired: bool) -> None:
    first = world.load("jobs.csv", body)
    files = rejects_files(world, "jobs", first.load_id)
    for suffix in files if expired else ():
        key = f"rejected/jobs/jobs_rejected_{first.load_id}.{suffix}"
        world.store.client.delete_object(Bucket=world.store.bucket, Key=key)
    copy = world.load("jobs copy.csv", body)
    assert (copy.verdict, copy.duplicate_of) == (Verdict.DUPLICATE, first.load_id)
    assert world.rejected(copy.load_id) == [(r.line, r.raw, r.reasons) for r in rules.judge("jobs", body).rejected]
    ids = str(first.load_id).encode(), str(copy.load_id).encode()
    assert rejects_files(world, "jobs", copy.load_id) == {name: text.replace(*ids) for name, text in files.items()}


def test_repaired_and_sent_again_they_are_linked_to_their_load(world: World) -> None:
    body = b'1,a\nx,"b\nb"\n3,\xe9\n'
    first = world.load("jobs.csv", body)
    repaired = rejects_file(world, "jobs", first.load_id).replace(b",x,", b",2,").replace(b"\xe9", "é".encode())
    second = world.load("jobs_rejected.csv", repaired)
    assert (second.verdict, second.counts.inserted, second.repairs) == (Verdict.LOADED, 2, first.load_id)
    assert world.ledger(second.load_id, "repairs") == (first.load_id,)
    assert world.rows("jobs") == [(1, "a"), (2, "b\nb"), (3, "é")]


def test_repaired_in_two_rounds(world: World) -> None:
    first = world.load("jobs.csv", b"1,a\nx,b\ny,c\n")
    half = rejects_file(world, "jobs", first.load_id).replace(b",x,", b",2,")
    second = world.load("jobs_round_2.csv", half)
    assert (second.verdict, second.counts.inserted, second.counts.rejected) == (Verdict.LOADED, 1, 1)
    rest = rejects_file(world, "jobs", second.load_id).replace(b",y,", b",3,")
    third = world.load("jobs_round_3.csv", rest)
    assert (third.verdict, third.counts.inserted, third.repairs) == (Verdict.LOADED, 1, second.load_id)
    assert world.rows("jobs") == [(1, "a"), (2, "b"), (3, "c")]


def test_ignored_columns_of_any_name_come_back_and_can_be_sent_again(world: World) -> None:
    body = b'"_note, ""mine""",id,"_two\nlines",job\n"x,y",1,,a\nz,x,"w\nw",b\n'
    first = world.load("jobs.csv", body)
    assert world.rejected(first.load_id) == [(r.line, r.raw, r.reasons) for r in rules.judge("jobs", body).rejected]
    repaired = rejects_file(world, "jobs", first.load_id).replace(b",x,", b",2,")
    second = world.load("jobs_rejected.csv", repaired)
    assert (second.verdict, second.counts.inserted, second.repairs) == (Verdict.LOADED, 1, first.load_id)
    assert world.rows("jobs") == [(1, "a"), (2, "b")]


def test_ragged_rows_come_back_by_the_raw_file(world: World) -> None:
    first = world.load("jobs.csv", b'1,a\n2;b\n3,"c\nc",x\n')
    repaired = rejects_file(world, "jobs", first.load_id, "raw").replace(b";", b",").replace(b",x", b"")
    second = world.load("jobs_raw.csv", repaired)
    assert (second.verdict, second.counts.inserted) == (Verdict.LOADED, 2)
    assert world.rows("jobs") == [(1, "a"), (2, "b"), (3, "c\nc")]


def test_sent_again_without_repair_they_are_rejected_again(world: World) -> None:
    first = world.load("jobs.csv", b"1,a\nx,b\n")
    again = world.load("jobs_rejected.csv", rejects_file(world, "jobs", first.load_id))
    assert (again.verdict, again.code, again.repairs) == (Verdict.REJECTED, "all_rows_bad", first.load_id)
    ((_, raw, reasons),) = world.rejected(again.load_id)
    assert reasons == {("id", "not_an_integer")}
    assert raw.endswith(b",x,b")


@pytest.mark.parametrize("claim", [b"12345", b"0", b"9" * 19, b"9" * 30, b"-1", b"x", b"", b'"1'])
def test_a_claim_to_repair_what_never_was_links_nothing(world: World, claim: bytes) -> None:
    body = b"_load_id,id,job\n" + claim + b",1,a\n5,2,b\n"
    outcome = world.load("jobs.csv", body)
    assert (outcome.repairs, *world.ledger(outcome.load_id, "repairs")) == (None, None)
    assert world.rows("jobs") == upserted("jobs", body)


# Duplicates and otherwise bad rows are never loaded, so they are no warnings.
ORPHANS = (
    b"1,Ann,2021-01-02T03:04:05Z,1,1\n"
    b"2,Bo,2021-01-02T03:04:05Z,2,1\n"
    b"3,Cy,2021-01-02T03:04:05Z,1,2\n"
    b"4,Di,2021-01-02T03:04:05Z,3,3\n"
    b"2,Bo again,2021-01-02T03:04:05Z,2,1\n"
    b"x,Ed,2021-01-02T03:04:05Z,4,1\n"
)


def with_references(world: World) -> None:
    world.load("departments.csv", b"1,Engineering\n")
    world.load("jobs.csv", b"1,Developer\n")


@pytest.mark.parametrize("chunk_bytes", [1024, 8 << 20])
def test_an_unknown_reference_is_loaded_and_counted_as_a_warning(world: World, chunk_bytes: int) -> None:
    with_references(world)
    body = ORPHANS + b"".join(b"%d,Fay,2021-01-02T03:04:05Z,%d,1\n" % (n, n % 2) for n in range(100, 200))
    outcome = world.load("hired_employees.csv", body, chunk_bytes=chunk_bytes)
    accepted = rules.judge(HIRES, body).accepted
    assert (outcome.verdict, outcome.warnings) == (Verdict.LOADED, rules.unknown_references(accepted, REFERENCES))
    assert world.rows(HIRES) == upserted(HIRES, body)
    (kept,) = world.sql("SELECT warnings::json FROM ops.loads WHERE load_id = %s", outcome.load_id)[0]
    assert kept == outcome.warnings


def test_an_unknown_reference_is_a_reason_when_the_setting_says_so(world: World) -> None:
    with_references(world)
    outcome = world.load("hired_employees.csv", ORPHANS, unknown_reference="reject")
    assert (outcome.verdict, outcome.counts.inserted, outcome.warnings) == (Verdict.LOADED, 1, {})
    unknown = {column: (column, "unknown_reference") for column in REFERENCES}
    reasons = [reasons for line, _, reasons in world.rejected(outcome.load_id) if line < 6]
    assert reasons == [
        {unknown["department_id"]}, {unknown["job_id"]}, set(unknown.values()), {unknown["department_id"]}
    ]  # fmt: skip
    assert rejects_file(world, HIRES, outcome.load_id).count(b"department_id:unknown_reference") >= 3


def test_an_unknown_reference_is_told_beside_the_other_reasons_of_a_row(world: World) -> None:
    with_references(world)
    body = b"1,Ann,2021-01-02T03:04:05Z,1,1\n2,,2021-01-02T03:04:05Z,7,1\n"
    outcome = world.load("hired_employees.csv", body, unknown_reference="reject")
    ((_, _, reasons),) = world.rejected(outcome.load_id)
    assert reasons == {("name", "missing"), ("department_id", "unknown_reference")}


@pytest.mark.parametrize(
    ("bad", "threshold", "code"),
    [(2, 0.1, "over_threshold"), (1, 0.1, None), (1, 0, "over_threshold"), (0, 0, None), (10, 1, "all_rows_bad"),
     (9, None, None), (10, None, "all_rows_bad")],
)  # fmt: skip
def test_the_reject_threshold(world: World, bad: int, threshold: float | None, code: str | None) -> None:
    body = b"".join(b"%s%d,j\n" % (b"x" if number <= bad else b"", number) for number in range(1, 11))
    settings = {} if threshold is None else {"reject_threshold": threshold}
    outcome = world.load("jobs.csv", body, **settings)
    verdict = rules.judge("jobs", body)
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED if code else Verdict.LOADED, code)
    assert world.rows("jobs") == ([] if code else upserted("jobs", body))
    assert world.rejected(outcome.load_id) == [(r.line, r.raw, r.reasons) for r in verdict.rejected]
    assert world.ledger(outcome.load_id, "code", "rows_read", "rows_rejected") == (code, 10, bad)


def test_a_file_refused_whole_keeps_its_rejected_rows_and_its_ledger_row(world: World) -> None:
    world.load("jobs_before.csv", b"1,before\n")
    body = b"1,after\nx,b\nragged\n"
    outcome = world.load("jobs.csv", body, reject_threshold=0.5)
    assert (outcome.verdict, outcome.code) == (Verdict.REJECTED, "over_threshold")
    assert world.rows("jobs") == [(1, "before")]
    assert world.rejected(outcome.load_id) == [(r.line, r.raw, r.reasons) for r in rules.judge("jobs", body).rejected]
    assert list(rejects_files(world, "jobs", outcome.load_id)) == ["csv", "raw"]
    assert world.ledger(outcome.load_id, "verdict", "rows_read", "rows_inserted", "rows_rejected") == (
        "rejected", 3, 0, 2
    )  # fmt: skip


def test_a_name_that_fits_no_table_is_told_in_the_ledger(world: World) -> None:
    outcome = world.load("20221120_jobs.csv", b"1,a\n")
    assert (outcome.verdict, outcome.code, outcome.table) == (Verdict.REJECTED, "no_table", None)
    assert world.ledger(outcome.load_id, "verdict", "code", "table_name") == ("rejected", "no_table", None)


def test_ragged_rows_are_mended_in_the_file_beside_and_sent_again(world: World) -> None:
    """As a person would: each record gets its missing comma, and the load's id in a column of its own."""
    body = b'1,a\n2;b\n3\n4,"d\n'
    first = world.load("jobs.csv", body)
    raw = rejects_files(world, "jobs", first.load_id)["raw"]
    assert raw == b'2;b\r\n3\r\n4,"d\n\r\n'
    mended = raw.replace(b"2;b", b"2,b").replace(b"\r\n3\r\n", b"\r\n3,c\r\n").replace(b'4,"d\n', b"4,d")
    lines = [b"%d,%s" % (first.load_id, line) for line in mended.splitlines()]
    second = world.load("jobs_mended.csv", b"\n".join([b"_load_id,id,job", *lines]))
    assert (second.verdict, second.counts.inserted, second.repairs) == (Verdict.LOADED, 3, first.load_id)
    assert world.rows("jobs") == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
