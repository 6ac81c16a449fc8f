SELECT
    job,
    CAST(SUM(q1) AS BIGINT) AS q1,
    CAST(SUM(q2) AS BIGINT) AS q2,
    CAST(SUM(q3) AS BIGINT) AS q3,
    CAST(SUM(q4) AS BIGINT) AS q4,
    CAST(SUM(q1 + q2 + q3 + q4) AS BIGINT) AS hires
FROM public.hires_department_job
WHERE year = %(year)s
GROUP BY job, OCTET_LENGTH(job)
ORDER BY SUM(q1 + q2 + q3 + q4) DESC, job{bytewise} ASC NULLS LAST, OCTET_LENGTH(job)
LIMIT 9
