SELECT
    CAST(EXTRACT(YEAR FROM hires.datetime) AS INTEGER) AS year,
    departments.department,
    jobs.job,
    SUM(CASE WHEN EXTRACT(QUARTER FROM hires.datetime) = 1 THEN 1 ELSE 0 END) AS q1,
    SUM(CASE WHEN EXTRACT(QUARTER FROM hires.datetime) = 2 THEN 1 ELSE 0 END) AS q2,
    SUM(CASE WHEN EXTRACT(QUARTER FROM hires.datetime) = 3 THEN 1 ELSE 0 END) AS q3,
    SUM(CASE WHEN EXTRACT(QUARTER FROM hires.datetime) = 4 THEN 1 ELSE 0 END) AS q4
FROM public.hired_employees AS hires
LEFT JOIN public.departments AS departments ON hires.department_id = departments.id
LEFT JOIN public.jobs AS jobs ON hires.job_id = jobs.id
GROUP BY CAST(EXTRACT(YEAR FROM hires.datetime) AS INTEGER), departments.department, jobs.job
