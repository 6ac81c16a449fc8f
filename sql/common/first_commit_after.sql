-- The number of the first commit of a table after a moment.
SELECT MIN(commits.commit_seq) AS first_after
FROM (
    SELECT commit_seq
    FROM ops.loads
    WHERE table_name = %(table)s AND finished_at > %(at)s
    UNION ALL
    SELECT commit_seq
    FROM ops.restores
    WHERE table_name = %(table)s AND kind <> 'copy' AND finished_at > %(at)s
) AS commits
