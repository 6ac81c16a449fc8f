SELECT
    department,
    job,
    q1,
    q2,
    q3,
    q4
FROM {source}
WHERE year = %(year)s
ORDER BY department COLLATE "C" ASC NULLS LAST, job COLLATE "C" ASC NULLS LAST
LIMIT %(limit)s
