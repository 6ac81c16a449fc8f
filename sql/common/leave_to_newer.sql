DELETE FROM {staging}
WHERE {key} IN (SELECT newer.{key} FROM {newer} AS newer)
