UPDATE {target}
SET {assignments}, _load_id = %(load_id)s
FROM {staging} AS staging
WHERE {target_row}.{key} = staging.{key} AND ({target_differs})
