WITH hired AS (
    SELECT
        CAST(EXTRACT(YEAR FROM hires.datetime) AS INTEGER) AS hired_year,
        departments.id AS department_id,
        departments.department,
        COUNT(*) AS hires
    FROM public.hired_employees AS hires
    LEFT JOIN public.departments AS departments ON hires.department_id = departments.id
    GROUP BY CAST(EXTRACT(YEAR FROM hires.datetime) AS INTEGER), departments.id, departments.department
),

means AS (
    SELECT
        hired_year,
        AVG(CAST(hires AS DOUBLE PRECISION)) AS mean_hires
    FROM hired
    GROUP BY hired_year
)

SELECT
    hired.hired_year AS year,
    hired.department_id AS id,
    hired.department,
    hired.hires AS hired,
    means.mean_hires AS mean_hired
FROM hired
INNER JOIN means ON hired.hired_year = means.hired_year
WHERE CAST(hired.hires AS DOUBLE PRECISION) > means.mean_hires
