DELETE FROM {target}
WHERE {key} IN (SELECT staging.{key} FROM {staging} AS staging)
