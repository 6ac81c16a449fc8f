UPDATE {target}
SET {assignments}, _load_id = staging._load_id
FROM {staging} AS staging
WHERE {target_row}.{key} = staging.{key} AND staging._change IN ('changed', 'moved')
