ALTER TABLE public.departments_hired_above_mean
-- The mean of the year, which the departments' hires are above; empty until the next refresh.
ADD COLUMN mean_hired DOUBLE PRECISION;

CREATE INDEX IF NOT EXISTS loads_by_repair ON ops.loads (repairs) WHERE repairs IS NOT NULL;
