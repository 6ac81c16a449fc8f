SELECT
    id,
    department,
    hired
FROM {source}
WHERE year = %(year)s
ORDER BY hired DESC, id ASC NULLS LAST
LIMIT %(limit)s
