SELECT
    department,
    job,
    q1,
    q2,
    q3,
    q4
FROM {source}
WHERE year = %(year)s
ORDER BY department{bytewise} ASC NULLS LAST, OCTET_LENGTH(department), job{bytewise} ASC NULLS LAST, OCTET_LENGTH(job)
LIMIT %(limit)s
