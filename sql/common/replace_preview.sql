SELECT COUNT(*)
FROM {target} AS target
LEFT JOIN {staging} AS staging ON target.{key} = staging.{key}
WHERE staging.{key} IS NULL
