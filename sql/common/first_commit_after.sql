-- The number of the first commit of a table after a moment; the files of a replacement commit together.
SELECT MIN(commits.commit_seq) AS first_after
FROM (
    SELECT
        commit_seq,
        CASE
            WHEN mode = 'replace' THEN MAX(finished_at) OVER (PARTITION BY mode, dag_id, run_id)
            ELSE finished_at
        END AS ended_at
    FROM ops.loads
    WHERE table_name = %(table)s AND commit_seq IS NOT NULL
    UNION ALL
    SELECT
        commit_seq,
        finished_at AS ended_at
    FROM ops.restores
    WHERE table_name = %(table)s AND kind <> 'copy'
) AS commits
WHERE commits.ended_at > %(at)s
