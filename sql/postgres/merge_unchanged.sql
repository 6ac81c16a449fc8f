SELECT COUNT(*)
FROM {staging} AS staging
INNER JOIN {target} AS target ON staging.{key} = target.{key}
WHERE target._load_id <> %(load_id)s AND NOT ({differs})
