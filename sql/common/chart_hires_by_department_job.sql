SELECT
    department,
    job,
    q1 + q2 + q3 + q4 AS hires
FROM public.hires_department_job
WHERE year = %(year)s AND q1 + q2 + q3 + q4 > 5
ORDER BY q1 + q2 + q3 + q4 DESC, department{bytewise} ASC NULLS LAST, OCTET_LENGTH(department), job{bytewise} ASC NULLS LAST, OCTET_LENGTH(job)
