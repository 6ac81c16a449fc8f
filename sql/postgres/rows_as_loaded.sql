-- Rows that are as a load left them: the transaction that wrote them wrote the load's row of the ledger too.
SELECT COUNT(*)
FROM {target} AS live
INNER JOIN ops.loads AS loads ON live._load_id = loads.load_id AND live.xmin = loads.xmin
WHERE
    live._load_id = %(load_id)s
    -- A warehouse that was restored as a whole has all its rows from one transaction.
    AND NOT EXISTS (SELECT 1 FROM ops.migrations AS migrations WHERE migrations.xmin = loads.xmin)
    -- A column that was added or dropped since has changed rows that were not written.
    AND NOT EXISTS (
        SELECT 1
        FROM pg_catalog.pg_attribute AS columns
        WHERE
            columns.attrelid = CAST('{target}' AS REGCLASS)
            AND columns.attnum > 0
            AND (columns.atthasmissing OR columns.attisdropped)
    )
