INSERT INTO ops.tables (table_name, commit_seq, changed_seq)
SELECT
    CAST(%(table)s AS VARCHAR(63)) AS table_name,
    0 AS commit_seq,
    0 AS changed_seq
WHERE NOT EXISTS (SELECT 1 FROM ops.tables AS known WHERE known.table_name = %(table)s)
