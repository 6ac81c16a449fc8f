ALTER TABLE ops.tables
-- When the table's newest commit was made, by the warehouse's clock; no later commit is told to be earlier.
ADD COLUMN committed_at TIMESTAMPTZ;

-- A worker whose clock was ahead has told times that are still to come. No commit is later than this one.
UPDATE ops.loads
SET
    started_at = LEAST(started_at, %(now)s),
    finished_at = %(now)s
WHERE commit_seq IS NOT NULL AND finished_at > %(now)s;

UPDATE ops.restores
SET finished_at = %(now)s
WHERE finished_at > %(now)s;

UPDATE ops.tables AS known
SET committed_at = newest.committed_at
FROM (
    SELECT
        commits.table_name,
        MAX(commits.finished_at) AS committed_at
    FROM (
        SELECT
            loads.table_name,
            loads.finished_at
        FROM ops.loads AS loads
        WHERE loads.commit_seq IS NOT NULL
        UNION ALL
        SELECT
            restores.table_name,
            restores.finished_at
        FROM ops.restores AS restores
    ) AS commits
    GROUP BY commits.table_name
) AS newest
WHERE known.table_name = newest.table_name;
