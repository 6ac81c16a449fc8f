-- No keys are declared: nothing enforces them, but the planner would rely on them. What must be there once is written
-- under a lock that is taken before it is looked for. Texts of ours are counted in characters, columns in bytes.
CREATE TABLE ops.migrations (
    name VARCHAR(128) NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL
)
DISTSTYLE ALL;

-- One row per table: its numbers order all commits of that table.
CREATE TABLE ops.tables (
    table_name VARCHAR(63) NOT NULL,
    commit_seq BIGINT NOT NULL,
    changed_seq BIGINT NOT NULL
)
DISTSTYLE ALL;

CREATE TABLE ops.loads (
    load_id BIGINT NOT NULL,
    arrival_id BIGINT NOT NULL,
    table_name VARCHAR(63),
    source_bucket VARCHAR(255) NOT NULL,
    source_key VARCHAR(4096) NOT NULL,
    source_version VARCHAR(1024) NOT NULL,
    sha256 CHAR(64),
    bytes BIGINT,
    mode VARCHAR(16) NOT NULL,
    verdict VARCHAR(16) NOT NULL,
    code VARCHAR(64),
    message VARCHAR(16384),
    rows_read BIGINT NOT NULL,
    rows_inserted BIGINT NOT NULL,
    rows_updated BIGINT NOT NULL,
    rows_unchanged BIGINT NOT NULL,
    rows_rejected BIGINT NOT NULL,
    rows_removed BIGINT NOT NULL,
    blank_lines BIGINT NOT NULL,
    warnings VARCHAR(4096) NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ NOT NULL,
    dag_id VARCHAR(1000),
    run_id VARCHAR(1000),
    repairs BIGINT,
    duplicate_of BIGINT,
    commit_seq BIGINT,
    -- Which rules judged the file (datamart.fingerprint).
    rules CHAR(16),
    -- When the file was first seen, and the time S3 gives it: with the key, its place in the order of arrivals.
    listed_at TIMESTAMPTZ,
    arrived_at TIMESTAMPTZ,
    clean_parts INTEGER NOT NULL,
    clean_expired_at TIMESTAMPTZ,
    rejects_expired_at TIMESTAMPTZ,
    -- The restore or undo that took the load's rows away again, and the number of its commit: the file counts as new.
    undone_by BIGINT,
    undone_seq BIGINT
)
DISTSTYLE KEY DISTKEY (load_id) SORTKEY (finished_at);

CREATE TABLE ops.rejected_rows (
    load_id BIGINT NOT NULL,
    line BIGINT NOT NULL,
    reasons VARCHAR(16384) NOT NULL,
    "raw" VARBYTE(1048576) NOT NULL
)
DISTSTYLE KEY DISTKEY (load_id) SORTKEY (load_id, line);

CREATE TABLE ops.backups (
    backup_id VARCHAR(64) NOT NULL,
    manifest_key VARCHAR(1024) NOT NULL,
    taken_at TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ NOT NULL,
    tables VARCHAR(4096) NOT NULL,
    rows_total BIGINT NOT NULL,
    bytes_total BIGINT NOT NULL,
    proven_at TIMESTAMPTZ,
    expired_at TIMESTAMPTZ,
    kind VARCHAR(16) NOT NULL
)
DISTSTYLE ALL;

CREATE TABLE ops.restores (
    restore_id BIGINT NOT NULL,
    table_name VARCHAR(63) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    backup_id VARCHAR(64),
    target_seq BIGINT,
    target_at TIMESTAMPTZ,
    undone_load_id BIGINT,
    rows_added BIGINT NOT NULL,
    rows_changed BIGINT NOT NULL,
    rows_removed BIGINT NOT NULL,
    finished_at TIMESTAMPTZ NOT NULL,
    dag_id VARCHAR(1000),
    run_id VARCHAR(1000),
    commit_seq BIGINT NOT NULL,
    into_table VARCHAR(63),
    rows_total BIGINT NOT NULL,
    -- Rows of equal values that another load is named for.
    rows_moved BIGINT NOT NULL,
    message VARCHAR(16384) NOT NULL,
    notes VARCHAR(65535) NOT NULL,
    -- What it changed is kept as clean parquet, so that later moments can be reached from earlier backups.
    clean_parts INTEGER NOT NULL,
    clean_expired_at TIMESTAMPTZ
)
DISTSTYLE ALL;

CREATE TABLE ops.drills (
    drill_id BIGINT NOT NULL,
    backup_id VARCHAR(64) NOT NULL,
    passed BOOLEAN NOT NULL,
    evidence VARCHAR(65535) NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ NOT NULL
)
DISTSTYLE ALL;

CREATE TABLE ops.insight_refreshes (
    insight VARCHAR(63) NOT NULL,
    refreshed_at TIMESTAMPTZ NOT NULL,
    rows_written BIGINT NOT NULL,
    seconds DOUBLE PRECISION NOT NULL,
    complete_up_to VARCHAR(4096) NOT NULL,
    dag_id VARCHAR(1000),
    run_id VARCHAR(1000)
)
DISTSTYLE ALL SORTKEY (refreshed_at);

CREATE TABLE public.hires_department_job (
    year INTEGER NOT NULL,
    department VARCHAR(256),
    job VARCHAR(256),
    q1 BIGINT NOT NULL,
    q2 BIGINT NOT NULL,
    q3 BIGINT NOT NULL,
    q4 BIGINT NOT NULL
)
DISTSTYLE ALL SORTKEY (year);

CREATE TABLE public.departments_hired_above_mean (
    year INTEGER NOT NULL,
    id INTEGER,
    department VARCHAR(256),
    hired BIGINT NOT NULL,
    -- The mean of the year, which the departments' hires are above.
    mean_hired DOUBLE PRECISION
)
DISTSTYLE ALL SORTKEY (year);
