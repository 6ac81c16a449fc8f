SELECT COUNT(*)
FROM {staging} AS staging
INNER JOIN {target} AS target ON staging.{key} = target.{key}
