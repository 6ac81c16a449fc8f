-- Keys of staged rows that the table holds with other values.
SELECT staging.{key}
FROM {staging} AS staging
INNER JOIN {target} AS target ON staging.{key} = target.{key}
WHERE {differs}
