WITH merged AS (
    INSERT INTO {target} AS target ({columns}, _load_id)
    SELECT
        {staging_columns},
        %(load_id)s
    FROM {staging} AS staging
    ON CONFLICT ({key}) DO UPDATE
    SET {excluded_assignments}, _load_id = excluded._load_id
    WHERE {excluded_differs}
    RETURNING {old_columns}, old._load_id
),

kept AS (
    INSERT INTO ops.{history} ({columns}, _load_id, _commit_seq, _replaced_by, _replaced_seq)
    SELECT
        {merged_columns},
        merged._load_id,
        COALESCE(loads.commit_seq, 0),
        %(load_id)s,
        %(commit_seq)s
    FROM merged
    LEFT JOIN ops.loads AS loads ON merged._load_id = loads.load_id
    WHERE merged.{key} IS NOT NULL
    RETURNING 1
)

SELECT
    (SELECT COUNT(*) FROM merged) AS touched,
    (SELECT COUNT({key}) FROM merged) AS updated,
    (SELECT COUNT(*) FROM kept) AS kept
