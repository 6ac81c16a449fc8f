DELETE FROM {target}
WHERE NOT EXISTS (SELECT 1 FROM {staging} AS staging WHERE staging.{key} = {target_row}.{key})
