"""What must hold after every scenario, recomputed from committed rows; nothing of the product's own answers counts."""

from __future__ import annotations

from datamart.loads import Verdict
from tests.integration.world import World
from tests.oracle import rules

_LOADS = {
    "rows read are inserted, updated, unchanged or rejected": """
        SELECT load_id, rows_read, rows_inserted, rows_updated, rows_unchanged, rows_rejected FROM ops.loads
        WHERE verdict IN ('loaded', 'duplicate')
        AND rows_read <> rows_inserted + rows_updated + rows_unchanged + rows_rejected""",
    "rejected rows are kept until they expire, and only those": """
        SELECT load_id, rows_rejected, kept FROM ops.loads
        FULL JOIN (SELECT load_id, count(*) AS kept FROM ops.rejected_rows GROUP BY load_id) AS rejects USING (load_id)
        WHERE coalesce(kept, 0) <> CASE WHEN rejects_expired_at IS NULL THEN coalesce(rows_rejected, -1) ELSE 0 END""",
    "physical lines are those of rows, rejects, header, blank and ignored lines": """
        SELECT load_id, line_counts FROM ops.loads, LATERAL CAST(line_counts AS JSONB) AS lines
        WHERE CAST(lines ->> 'file' AS BIGINT) IS DISTINCT FROM CAST(lines ->> 'accepted' AS BIGINT)
            + CAST(lines ->> 'rejected' AS BIGINT) + CAST(lines ->> 'header' AS BIGINT)
            + CAST(lines ->> 'blank' AS BIGINT) + CAST(lines ->> 'ignored' AS BIGINT)
        OR CAST(lines ->> 'blank' AS BIGINT) <> blank_lines
        OR CAST(lines ->> 'accepted' AS BIGINT) < rows_read - rows_rejected
        UNION ALL
        SELECT load_id, verdict FROM ops.loads WHERE verdict IN ('loaded', 'duplicate') AND line_counts IS NULL""",
    "rejected lines are those of the rejected rows that are kept": """
        SELECT load_id, line_counts, kept FROM ops.loads LEFT JOIN (
            SELECT load_id, sum(length(lines) - length(replace(lines, chr(10), ''))
                + CASE WHEN right(lines, 1) = chr(10) THEN 0 ELSE 1 END) AS kept
            FROM (SELECT load_id, encode(raw, 'escape') AS lines FROM ops.rejected_rows) AS texts GROUP BY load_id
        ) AS rejects USING (load_id)
        WHERE rejects_expired_at IS NULL
        AND coalesce(kept, 0) <> CAST(CAST(line_counts AS JSONB) ->> 'rejected' AS BIGINT)""",
    "only a load that is loaded changes rows": """
        SELECT load_id, verdict FROM ops.loads
        WHERE verdict <> 'loaded' AND rows_inserted + rows_updated + rows_removed > 0""",
    "an arrival is applied once, and again only for rows that were gone": """
        SELECT source_key, source_version, count(*) FROM ops.loads
        WHERE verdict IN ('loaded', 'duplicate') AND mode = 'upsert' AND undone_by IS NULL
        AND message NOT LIKE '%% rows of this file (load %%) were gone and are loaded again.%%'
        GROUP BY source_bucket, source_key, source_version HAVING count(*) > 1""",
    "what was applied has a commit number": """
        SELECT load_id FROM ops.loads WHERE verdict IN ('loaded', 'duplicate') AND commit_seq IS NULL""",
    "a duplicate names the load that brought the bytes": """
        SELECT copy.load_id, copy.duplicate_of FROM ops.loads AS copy
        LEFT JOIN ops.loads AS first ON first.load_id = copy.duplicate_of
            AND first.verdict = 'loaded' AND first.sha256 = copy.sha256 AND first.table_name = copy.table_name
        WHERE copy.verdict = 'duplicate' AND (first.load_id IS NULL OR first.commit_seq >= copy.commit_seq)""",
    "what was not applied says why": """
        SELECT load_id, verdict FROM ops.loads
        WHERE verdict IN ('rejected', 'failed', 'duplicate') AND coalesce(message, '') = ''""",
    "a repair names a load": """
        SELECT load_id, repairs FROM ops.loads AS repair
        WHERE repairs IS NOT NULL AND NOT EXISTS (SELECT FROM ops.loads WHERE load_id = repair.repairs)""",
}

_COMMITS = """(
    SELECT load_id AS id, commit_seq, rows_inserted AS put, rows_updated AS changed, rows_removed AS removed,
        verdict = 'loaded' AS applied FROM ops.loads WHERE table_name = '{table}'
    UNION ALL
    SELECT restore_id, commit_seq, rows_added, rows_changed, rows_removed, TRUE FROM ops.restores
    WHERE table_name = '{table}' AND kind <> 'copy'
)"""

_TABLES = {
    "every row is of a load that is loaded": f"""
        SELECT live.id, live._load_id FROM public.{{table}} AS live
        LEFT JOIN {_COMMITS} AS commits ON commits.id = live._load_id
        WHERE applied IS DISTINCT FROM TRUE""",
    "live rows are those inserted and not removed": f"""
        SELECT live, counted FROM (SELECT count(*) AS live FROM public.{{table}}) AS a,
        (SELECT coalesce(sum(put) - sum(removed), 0) AS counted FROM {_COMMITS} AS commits) AS b
        WHERE live <> counted""",
    "replaced and removed rows are in the history": f"""
        SELECT kept, counted FROM (SELECT count(*) AS kept FROM ops.{{table}}_history) AS a,
        (SELECT coalesce(sum(changed) + sum(removed), 0) AS counted FROM {_COMMITS} AS commits) AS b
        WHERE kept <> counted""",
    "history names both loads by their commit numbers": f"""
        SELECT old.id, _load_id, _commit_seq, _replaced_by, _replaced_seq FROM ops.{{table}}_history AS old
        LEFT JOIN ops.loads AS brought ON brought.load_id = old._load_id AND brought.verdict = 'loaded'
        LEFT JOIN {_COMMITS} AS took ON took.id = old._replaced_by AND took.applied
        WHERE coalesce(brought.commit_seq, 0) <> _commit_seq OR took.commit_seq IS DISTINCT FROM _replaced_seq
        OR _commit_seq >= _replaced_seq""",
    "commit numbers rise by one": f"""
        SELECT place, commit_seq FROM (
            SELECT commit_seq, row_number() OVER (ORDER BY commit_seq) AS place FROM {_COMMITS} AS commits
            WHERE commit_seq IS NOT NULL) AS numbered
        WHERE place <> commit_seq""",
    "the table knows its last commit number": f"""
        SELECT commit_seq, changed_seq FROM ops.tables WHERE table_name = '{{table}}' AND (
            commit_seq <> (SELECT coalesce(max(commits.commit_seq), 0) FROM {_COMMITS} AS commits)
            OR changed_seq <> (SELECT coalesce(max(commits.commit_seq), 0) FROM {_COMMITS} AS commits
                WHERE put + changed + removed > 0))""",
    "what is undone names what undid it": """
        SELECT load_id, undone_by, undone_seq FROM ops.loads AS undone WHERE table_name = '{table}'
        AND (undone_by IS NULL) <> (undone_seq IS NULL) OR undone_by IS NOT NULL AND NOT EXISTS (
            SELECT FROM ops.restores WHERE restore_id = undone.undone_by AND commit_seq = undone.undone_seq)""",
}

CHECKS: dict[str, str] = _LOADS | {
    f"{table}: {claim}": text.format(table=table) for table in rules.COLUMNS for claim, text in _TABLES.items()
}


def assert_sound(world: World) -> None:
    """Each claim is a query for what contradicts it."""
    wrong = [f"{claim}, but {found}" for claim, text in CHECKS.items() if (found := world.sql(text))]
    assert not wrong, "\n".join(wrong)


def assert_converged(world: World) -> None:
    """Another run that finds what was applied says duplicate, and changes nothing."""
    before = world.snapshot()
    for arrival, settings in world.asked:
        known = world.sql("SELECT verdict FROM ops.loads WHERE source_key = %s AND source_version = %s "
                          "AND mode = 'upsert'", arrival.key, arrival.version)  # fmt: skip
        if {verdict for (verdict,) in known} & {Verdict.LOADED, Verdict.DUPLICATE}:
            # What was moved away since is asked for by the landing folder alone, which looks at no rows.
            there = any(one.arrival_id == arrival.arrival_id for one in world.store.list(arrival.key, exact=True))
            answer = world.loader(**settings).load(arrival, recheck=there)
            assert answer.verdict is Verdict.DUPLICATE, f"{arrival.key}, loaded before, was {answer.verdict}"
            assert answer.message, f"{arrival.key}: a duplicate without a word"
    after = world.snapshot()
    changed = [name for name, rows in after.items() if rows != before[name]]
    assert not changed, f"asking again changed {', '.join(changed)}"
