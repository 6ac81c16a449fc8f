SELECT
    department,
    job,
    q1,
    q2,
    q3,
    q4
FROM {source}
WHERE year = %(year)s
ORDER BY department{bytewise} ASC NULLS LAST, job{bytewise} ASC NULLS LAST
LIMIT %(limit)s
