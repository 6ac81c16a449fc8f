INSERT INTO ops.{history} ({columns}, _load_id, _commit_seq, _replaced_by, _replaced_seq)
SELECT
    {target_columns},
    target._load_id,
    COALESCE(loads.commit_seq, 0),
    %(change_id)s,
    %(commit_seq)s
FROM {target} AS target
INNER JOIN {staging} AS staging ON target.{key} = staging.{key}
LEFT JOIN ops.loads AS loads ON target._load_id = loads.load_id
WHERE staging._change IN ('changed', 'removed')
