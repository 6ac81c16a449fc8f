SELECT
    (SELECT reltuples FROM pg_class WHERE oid = CAST(%(staging)s AS REGCLASS)) AS staged,
    (SELECT reltuples FROM pg_class WHERE oid = CAST(%(target)s AS REGCLASS)) AS rows_before
