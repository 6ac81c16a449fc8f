WITH matched AS MATERIALIZED (
    SELECT
        {target_columns},
        target._load_id,
        ({differs}) AS differs
    FROM {target} AS target
    INNER JOIN {staging} AS staging ON target.{key} = staging.{key}
),

kept AS (
    INSERT INTO ops.{history} ({columns}, _load_id, _commit_seq, _replaced_by, _replaced_seq)
    SELECT
        {matched_columns},
        matched._load_id,
        COALESCE(loads.commit_seq, 0),
        %(load_id)s,
        %(commit_seq)s
    FROM matched
    LEFT JOIN ops.loads AS loads ON matched._load_id = loads.load_id
    WHERE matched.differs
    RETURNING 1
)

SELECT
    (SELECT COUNT(*) FROM matched) AS matched,
    (SELECT COUNT(*) FROM kept) AS kept
