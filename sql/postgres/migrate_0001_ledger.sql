CREATE SCHEMA IF NOT EXISTS ops;

CREATE TABLE IF NOT EXISTS ops.migrations (
    name VARCHAR(128) PRIMARY KEY,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- One row per table: locking it is the per-table lock; its numbers order all commits of that table.
CREATE TABLE IF NOT EXISTS ops.tables (
    table_name VARCHAR(63) PRIMARY KEY,
    commit_seq BIGINT NOT NULL DEFAULT 0,
    changed_seq BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE IF NOT EXISTS ops.loads (
    load_id BIGINT PRIMARY KEY,
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
    message VARCHAR(4096),
    rows_read BIGINT NOT NULL DEFAULT 0,
    rows_inserted BIGINT NOT NULL DEFAULT 0,
    rows_updated BIGINT NOT NULL DEFAULT 0,
    rows_unchanged BIGINT NOT NULL DEFAULT 0,
    rows_rejected BIGINT NOT NULL DEFAULT 0,
    rows_removed BIGINT NOT NULL DEFAULT 0,
    blank_lines BIGINT NOT NULL DEFAULT 0,
    warnings VARCHAR(4096) NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ NOT NULL,
    dag_id VARCHAR(250),
    run_id VARCHAR(250),
    repairs BIGINT,
    duplicate_of BIGINT,
    commit_seq BIGINT,
    -- Which rules judged the file (datamart.fingerprint).
    rules CHAR(16)
);
CREATE INDEX IF NOT EXISTS loads_by_arrival ON ops.loads (arrival_id);
CREATE INDEX IF NOT EXISTS loads_by_content ON ops.loads (sha256, table_name);
CREATE INDEX IF NOT EXISTS loads_by_end ON ops.loads (finished_at);

CREATE TABLE IF NOT EXISTS ops.rejected_rows (
    load_id BIGINT NOT NULL,
    line BIGINT NOT NULL,
    reasons VARCHAR(4096) NOT NULL,
    raw BYTEA NOT NULL,
    PRIMARY KEY (load_id, line)
);

CREATE TABLE IF NOT EXISTS ops.backups (
    backup_id VARCHAR(64) PRIMARY KEY,
    manifest_key VARCHAR(1024) NOT NULL,
    taken_at TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ NOT NULL,
    tables VARCHAR(4096) NOT NULL,
    rows_total BIGINT NOT NULL,
    bytes_total BIGINT NOT NULL,
    proven_at TIMESTAMPTZ,
    expired_at TIMESTAMPTZ
);

CREATE TABLE IF NOT EXISTS ops.restores (
    restore_id BIGINT PRIMARY KEY,
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
    dag_id VARCHAR(250),
    run_id VARCHAR(250),
    commit_seq BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS ops.drills (
    drill_id BIGINT PRIMARY KEY,
    backup_id VARCHAR(64) NOT NULL,
    passed BOOLEAN NOT NULL,
    evidence VARCHAR(65535) NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE IF NOT EXISTS ops.insight_refreshes (
    insight VARCHAR(63) NOT NULL,
    refreshed_at TIMESTAMPTZ NOT NULL,
    rows_written BIGINT NOT NULL,
    seconds DOUBLE PRECISION NOT NULL,
    complete_up_to VARCHAR(4096) NOT NULL,
    dag_id VARCHAR(250),
    run_id VARCHAR(250),
    PRIMARY KEY (insight, refreshed_at)
);

CREATE TABLE IF NOT EXISTS public.hires_department_job (
    year INTEGER NOT NULL,
    department VARCHAR(256),
    job VARCHAR(256),
    q1 BIGINT NOT NULL,
    q2 BIGINT NOT NULL,
    q3 BIGINT NOT NULL,
    q4 BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS public.departments_hired_above_mean (
    year INTEGER NOT NULL,
    id INTEGER,
    department VARCHAR(256),
    hired BIGINT NOT NULL
);
