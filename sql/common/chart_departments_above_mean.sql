SELECT
    id,
    department,
    hired,
    mean_hired
FROM public.departments_hired_above_mean
WHERE year = %(year)s
ORDER BY hired DESC, id ASC NULLS LAST
