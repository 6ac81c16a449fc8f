SELECT staging.{key}
FROM {staging} AS staging
WHERE staging.{key} IN (SELECT newer.{key} FROM {newer} AS newer)
