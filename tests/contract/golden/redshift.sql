-- All SQL of this project in the dialect redshift: schema, then what is done, statement by statement.

-- :name is a bound value. Staging tables are temporary. Short counts and look-ups are in the code beside.

-- ======
-- Schema
-- ======

-- begin_migrations
CREATE SCHEMA IF NOT EXISTS ops;

-- Locked before anything is read by what must be written once: no key would see to that.
CREATE TABLE IF NOT EXISTS ops.lock_ledger (locked BOOLEAN);

CREATE TABLE IF NOT EXISTS ops.lock_insights (locked BOOLEAN);

-- migrate_0001_ledger
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

-- migrate_0002_landing
-- Files that a fault keeps from being loaded or moved away, until the next try is due.
CREATE TABLE ops.holds (
    arrival_id BIGINT NOT NULL,
    source_key VARCHAR(4096) NOT NULL,
    attempts INTEGER NOT NULL,
    reason VARCHAR(16384) NOT NULL,
    since TIMESTAMPTZ NOT NULL,
    next_try_at TIMESTAMPTZ NOT NULL
)
DISTSTYLE ALL;

-- migrate_0003_lines
-- Physical lines as a JSON object: of the file, and of its accepted and rejected rows, header, blank and ignored
-- lines; empty where the file was not read to its end, and for loads of older versions.
ALTER TABLE ops.loads ADD COLUMN line_counts VARCHAR(256);

-- migrate_0004_commit_times
ALTER TABLE ops.tables
-- When the table's newest commit was made, by the warehouse's clock; no later commit is told to be earlier.
ADD COLUMN committed_at TIMESTAMPTZ;

-- A worker whose clock was ahead has told times that are still to come. No commit is later than this one.
UPDATE ops.loads
SET
    started_at = LEAST(started_at, :now),
    finished_at = :now
WHERE commit_seq IS NOT NULL AND finished_at > :now;

UPDATE ops.restores
SET finished_at = :now
WHERE finished_at > :now;

UPDATE ops.tables
SET committed_at = newest.committed_at
FROM (
    SELECT
        commits.table_name,
        MAX(commits.finished_at) AS committed_at
    FROM (
        SELECT
            loads.table_name,
            loads.finished_at
        FROM ops.loads AS loads
        WHERE loads.commit_seq IS NOT NULL
        UNION ALL
        SELECT
            restores.table_name,
            restores.finished_at
        FROM ops.restores AS restores
    ) AS commits
    GROUP BY commits.table_name
) AS newest
WHERE ops.tables.table_name = newest.table_name;

-- migrate_0005_known_parameters
-- Nothing changes but that it is applied, and when: runs that were triggered before may have conf of any keys.
SELECT COUNT(*) FROM ops.migrations;

-- create_table
-- No keys are declared: nothing enforces them, but the planner would rely on them.
CREATE TABLE IF NOT EXISTS public.departments (
    "id" INTEGER NOT NULL,
    "department" VARCHAR(256) NOT NULL,
    _load_id BIGINT NOT NULL
)
DISTSTYLE ALL SORTKEY ("id");

CREATE TABLE IF NOT EXISTS ops.departments_history (
    "id" INTEGER NOT NULL,
    "department" VARCHAR(256) NOT NULL,
    _load_id BIGINT NOT NULL,
    _commit_seq BIGINT NOT NULL,
    _replaced_by BIGINT NOT NULL,
    _replaced_seq BIGINT NOT NULL
)
DISTSTYLE KEY DISTKEY ("id") SORTKEY (_replaced_seq);

-- The table's lock: one on the rows themselves would keep readers waiting.
CREATE TABLE IF NOT EXISTS ops.lock_departments (locked BOOLEAN);

-- insert_table
INSERT INTO ops.tables (table_name, commit_seq, changed_seq)
SELECT
    CAST(:table AS VARCHAR(63)) AS table_name,
    0 AS commit_seq,
    0 AS changed_seq
WHERE NOT EXISTS (SELECT 1 FROM ops.tables AS known WHERE known.table_name = :table);

-- create_table
-- No keys are declared: nothing enforces them, but the planner would rely on them.
CREATE TABLE IF NOT EXISTS public.jobs (
    "id" INTEGER NOT NULL,
    "job" VARCHAR(256) NOT NULL,
    _load_id BIGINT NOT NULL
)
DISTSTYLE ALL SORTKEY ("id");

CREATE TABLE IF NOT EXISTS ops.jobs_history (
    "id" INTEGER NOT NULL,
    "job" VARCHAR(256) NOT NULL,
    _load_id BIGINT NOT NULL,
    _commit_seq BIGINT NOT NULL,
    _replaced_by BIGINT NOT NULL,
    _replaced_seq BIGINT NOT NULL
)
DISTSTYLE KEY DISTKEY ("id") SORTKEY (_replaced_seq);

-- The table's lock: one on the rows themselves would keep readers waiting.
CREATE TABLE IF NOT EXISTS ops.lock_jobs (locked BOOLEAN);

-- insert_table
INSERT INTO ops.tables (table_name, commit_seq, changed_seq)
SELECT
    CAST(:table AS VARCHAR(63)) AS table_name,
    0 AS commit_seq,
    0 AS changed_seq
WHERE NOT EXISTS (SELECT 1 FROM ops.tables AS known WHERE known.table_name = :table);

-- create_table
-- No keys are declared: nothing enforces them, but the planner would rely on them.
CREATE TABLE IF NOT EXISTS public.hired_employees (
    "id" INTEGER NOT NULL,
    "name" VARCHAR(256) NOT NULL,
    "datetime" TIMESTAMP NOT NULL,
    "department_id" INTEGER NOT NULL,
    "job_id" INTEGER NOT NULL,
    _load_id BIGINT NOT NULL
)
DISTSTYLE KEY DISTKEY ("id") SORTKEY ("id");

CREATE TABLE IF NOT EXISTS ops.hired_employees_history (
    "id" INTEGER NOT NULL,
    "name" VARCHAR(256) NOT NULL,
    "datetime" TIMESTAMP NOT NULL,
    "department_id" INTEGER NOT NULL,
    "job_id" INTEGER NOT NULL,
    _load_id BIGINT NOT NULL,
    _commit_seq BIGINT NOT NULL,
    _replaced_by BIGINT NOT NULL,
    _replaced_seq BIGINT NOT NULL
)
DISTSTYLE KEY DISTKEY ("id") SORTKEY (_replaced_seq);

-- The table's lock: one on the rows themselves would keep readers waiting.
CREATE TABLE IF NOT EXISTS ops.lock_hired_employees (locked BOOLEAN);

-- insert_table
INSERT INTO ops.tables (table_name, commit_seq, changed_seq)
SELECT
    CAST(:table AS VARCHAR(63)) AS table_name,
    0 AS commit_seq,
    0 AS changed_seq
WHERE NOT EXISTS (SELECT 1 FROM ops.tables AS known WHERE known.table_name = :table);

-- open_references
CREATE OR REPLACE VIEW ops.open_references AS
SELECT
    referring._load_id AS load_id,
    CAST('hired_employees' AS VARCHAR(63)) AS table_name,
    CAST('department_id' AS VARCHAR(63)) AS column_name,
    COUNT(*) AS rows_open
FROM public.hired_employees AS referring
LEFT JOIN public.departments AS referenced ON referring."department_id" = referenced."id"
WHERE referenced."id" IS NULL
GROUP BY referring._load_id
UNION ALL
SELECT
    referring._load_id AS load_id,
    CAST('hired_employees' AS VARCHAR(63)) AS table_name,
    CAST('job_id' AS VARCHAR(63)) AS column_name,
    COUNT(*) AS rows_open
FROM public.hired_employees AS referring
LEFT JOIN public.jobs AS referenced ON referring."job_id" = referenced."id"
WHERE referenced."id" IS NULL
GROUP BY referring._load_id;

-- warned_references
CREATE OR REPLACE VIEW ops.warned_references AS
SELECT
    load_id,
    source_key,
    table_name,
    CAST('department_id' AS VARCHAR(63)) AS column_name,
    CAST(NULLIF(JSON_EXTRACT_PATH_TEXT(warnings, 'department_id'), '') AS BIGINT) AS rows_warned,
    finished_at
FROM ops.loads
WHERE table_name = 'hired_employees' AND warnings LIKE '%"department_id"%' AND rows_inserted + rows_updated > 0
UNION ALL
SELECT
    load_id,
    source_key,
    table_name,
    CAST('job_id' AS VARCHAR(63)) AS column_name,
    CAST(NULLIF(JSON_EXTRACT_PATH_TEXT(warnings, 'job_id'), '') AS BIGINT) AS rows_warned,
    finished_at
FROM ops.loads
WHERE table_name = 'hired_employees' AND warnings LIKE '%"job_id"%' AND rows_inserted + rows_updated > 0;

-- create_warnings
-- Rows that a load put there with a reference to nothing, and how many of them are there and still refer to nothing.
CREATE OR REPLACE VIEW ops.warnings AS
SELECT
    warned.load_id,
    warned.source_key,
    warned.table_name,
    warned.column_name,
    warned.rows_warned,
    COALESCE(still.rows_open, 0) AS rows_open,
    COALESCE(still.rows_open, 0) = 0 AS resolved,
    warned.finished_at
FROM ops.warned_references AS warned
LEFT JOIN ops.open_references AS still
    ON
        warned.load_id = still.load_id
        AND warned.table_name = still.table_name
        AND warned.column_name = still.column_name;

-- =============================
-- Find what a listed file needs
-- =============================

-- newer_loads
SELECT DISTINCT
    kept.load_id,
    kept.clean_parts,
    newer.mode
FROM ops.loads AS newer
INNER JOIN ops.loads AS kept
    ON kept.load_id = CASE WHEN newer.clean_parts = 0 THEN newer.duplicate_of ELSE newer.load_id END
WHERE
    newer.table_name = :table
    AND newer.verdict IN ('loaded', 'duplicate')
    AND newer.undone_by IS NULL
    AND newer.listed_at >= :listed_at
    AND (newer.listed_at > :listed_at OR newer.arrived_at >= :arrived_at)
    AND (
        newer.listed_at > :listed_at
        OR newer.arrived_at > :arrived_at
        OR newer.source_key > :key
    )
    AND newer.listed_at <= :listed_until;

-- read_holds
SELECT
    arrival_id,
    source_key,
    attempts,
    reason,
    since,
    next_try_at
FROM ops.holds;

-- forget_hold
DELETE FROM ops.holds
WHERE arrival_id = :arrival_id;

-- insert_hold
INSERT INTO ops.holds (arrival_id, source_key, attempts, reason, since, next_try_at)
VALUES (:arrival_id, :key, :attempts, :reason, :since, :next_try_at);

-- ==========
-- Stage rows
-- ==========

-- create_staging
CREATE TEMPORARY TABLE staging_1 (
    "id" INTEGER NOT NULL,
    "name" VARCHAR(256) NOT NULL,
    "datetime" TIMESTAMP NOT NULL,
    "department_id" INTEGER NOT NULL,
    "job_id" INTEGER NOT NULL
)
DISTSTYLE KEY DISTKEY ("id") SORTKEY ("id");

-- create_staging_kept
CREATE TEMPORARY TABLE staging_1 (
    "id" INTEGER NOT NULL,
    "name" VARCHAR(256) NOT NULL,
    "datetime" TIMESTAMP NOT NULL,
    "department_id" INTEGER NOT NULL,
    "job_id" INTEGER NOT NULL,
    _load_id BIGINT NOT NULL
)
DISTSTYLE KEY DISTKEY ("id") SORTKEY ("id");

-- copy
COPY staging_1
FROM :manifest
IAM_ROLE DEFAULT
FORMAT AS PARQUET
MANIFEST;

-- unload
UNLOAD (:query)
TO :place
IAM_ROLE DEFAULT
FORMAT AS PARQUET
MANIFEST VERBOSE
MAXFILESIZE 256 MB;

-- =========================================
-- Merge staged rows, under the table's lock
-- =========================================

-- left_to_newer
SELECT staging."id"
FROM staging_1 AS staging
WHERE staging."id" IN (SELECT newer."id" FROM newer_1 AS newer);

-- leave_to_newer
DELETE FROM staging_1
WHERE "id" IN (SELECT newer."id" FROM newer_1 AS newer);

-- merge_matched
SELECT COUNT(*)
FROM staging_1 AS staging
INNER JOIN public.hired_employees AS target ON staging."id" = target."id";

-- merge_history
INSERT INTO ops.hired_employees_history ("id", "name", "datetime", "department_id", "job_id", _load_id, _commit_seq, _replaced_by, _replaced_seq)
SELECT
    target."id", target."name", target."datetime", target."department_id", target."job_id",
    target._load_id,
    COALESCE(loads.commit_seq, 0),
    :load_id,
    :commit_seq
FROM public.hired_employees AS target
INNER JOIN staging_1 AS staging ON target."id" = staging."id"
LEFT JOIN ops.loads AS loads ON target._load_id = loads.load_id
WHERE target."name" <> staging."name" OR target."datetime" <> staging."datetime" OR target."department_id" <> staging."department_id" OR target."job_id" <> staging."job_id" OR OCTET_LENGTH(target."name") <> OCTET_LENGTH(staging."name");

-- merge_update
UPDATE public.hired_employees
SET "name" = staging."name", "datetime" = staging."datetime", "department_id" = staging."department_id", "job_id" = staging."job_id", _load_id = :load_id
FROM staging_1 AS staging
WHERE hired_employees."id" = staging."id" AND (hired_employees."name" <> staging."name" OR hired_employees."datetime" <> staging."datetime" OR hired_employees."department_id" <> staging."department_id" OR hired_employees."job_id" <> staging."job_id" OR OCTET_LENGTH(hired_employees."name") <> OCTET_LENGTH(staging."name"));

-- merge_insert
INSERT INTO public.hired_employees ("id", "name", "datetime", "department_id", "job_id", _load_id)
SELECT
    staging."id", staging."name", staging."datetime", staging."department_id", staging."job_id",
    :load_id
FROM staging_1 AS staging
LEFT JOIN public.hired_employees AS target ON staging."id" = target."id"
WHERE target."id" IS NULL;

-- merge_preview
SELECT
    COUNT(*) AS staged,
    COUNT(target."id") AS matched,
    SUM(CASE WHEN target."id" IS NOT NULL AND (target."name" <> staging."name" OR target."datetime" <> staging."datetime" OR target."department_id" <> staging."department_id" OR target."job_id" <> staging."job_id" OR OCTET_LENGTH(target."name") <> OCTET_LENGTH(staging."name")) THEN 1 ELSE 0 END) AS differing
FROM staging_1 AS staging
LEFT JOIN public.hired_employees AS target ON staging."id" = target."id";

-- staged_and_differing
-- Keys of staged rows that the table holds with other values.
SELECT staging."id"
FROM staging_1 AS staging
INNER JOIN public.hired_employees AS target ON staging."id" = target."id"
WHERE target."name" <> staging."name" OR target."datetime" <> staging."datetime" OR target."department_id" <> staging."department_id" OR target."job_id" <> staging."job_id" OR OCTET_LENGTH(target."name") <> OCTET_LENGTH(staging."name");

-- replaced_since
-- Replacements after a file's load, or after its place in the order, that were made without the file.
SELECT COUNT(*)
FROM ops.loads AS later
WHERE
    later.table_name = :table
    AND later.mode = 'replace'
    AND later.verdict IN ('loaded', 'duplicate')
    AND later.undone_by IS NULL
    AND (later.commit_seq > :commit_seq OR later.listed_at > :listed_at)
    AND NOT EXISTS (
        SELECT 1
        FROM ops.loads AS same
        WHERE
            same.table_name = later.table_name
            AND same.mode = 'replace'
            AND same.verdict IN ('loaded', 'duplicate')
            AND same.undone_by IS NULL
            AND same.run_id = later.run_id
            AND same.sha256 = :sha256
    );

-- ===============================
-- Replace a table, under its lock
-- ===============================

-- replace_preview
SELECT COUNT(*)
FROM public.hired_employees AS target
LEFT JOIN staging_1 AS staging ON target."id" = staging."id"
WHERE staging."id" IS NULL;

-- replace_history
INSERT INTO ops.hired_employees_history ("id", "name", "datetime", "department_id", "job_id", _load_id, _commit_seq, _replaced_by, _replaced_seq)
SELECT
    target."id", target."name", target."datetime", target."department_id", target."job_id",
    target._load_id,
    COALESCE(loads.commit_seq, 0),
    :load_id,
    :commit_seq
FROM public.hired_employees AS target
LEFT JOIN staging_1 AS staging ON target."id" = staging."id"
LEFT JOIN ops.loads AS loads ON target._load_id = loads.load_id
WHERE staging."id" IS NULL;

-- replace_delete
DELETE FROM public.hired_employees
WHERE NOT EXISTS (SELECT 1 FROM staging_1 AS staging WHERE staging."id" = hired_employees."id");

-- removed_keys
SELECT gone."id"
FROM ops.hired_employees_history AS gone
LEFT JOIN public.hired_employees AS target ON gone."id" = target."id"
WHERE
    gone._replaced_by = :change_id
    AND gone._replaced_seq = :commit_seq
    AND target."id" IS NULL;

-- =========================================
-- Write the ledger, in the same transaction
-- =========================================

-- forget_failed_load
DELETE FROM ops.loads
WHERE load_id = :load_id AND verdict = 'failed';

-- insert_load
INSERT INTO ops.loads (load_id, ...)
VALUES (:load_id, ...);

-- ==============
-- Back up, drill
-- ==============

-- insert_backup
INSERT INTO ops.backups (
    backup_id, manifest_key, taken_at, finished_at, tables, rows_total, bytes_total, kind
)
SELECT
    CAST(:backup_id AS VARCHAR(64)) AS backup_id,
    CAST(:manifest_key AS VARCHAR(1024)) AS manifest_key,
    CAST(:taken_at AS TIMESTAMPTZ) AS taken_at,
    CAST(:finished_at AS TIMESTAMPTZ) AS finished_at,
    CAST(:tables AS VARCHAR(4096)) AS tables,
    CAST(:rows_total AS BIGINT) AS rows_total,
    CAST(:bytes_total AS BIGINT) AS bytes_total,
    CAST(:kind AS VARCHAR(16)) AS kind
WHERE NOT EXISTS (SELECT 1 FROM ops.backups AS known WHERE known.backup_id = :backup_id);

-- create_scratch
-- No key is declared: nothing enforces it, but the planner would rely on it.
CREATE TABLE public.hired_employees (
    "id" INTEGER NOT NULL,
    "name" VARCHAR(256) NOT NULL,
    "datetime" TIMESTAMP NOT NULL,
    "department_id" INTEGER NOT NULL,
    "job_id" INTEGER NOT NULL,
    _load_id BIGINT NOT NULL
)
DISTSTYLE KEY DISTKEY ("id");

-- insert_drill
INSERT INTO ops.drills (drill_id, backup_id, passed, evidence, started_at, finished_at)
VALUES (:drill_id, :backup_id, :passed, :evidence, :started_at, :finished_at);

-- ========================
-- Restore, and undo a load
-- ========================

-- live_columns
SELECT
    column_name,
    data_type,
    is_nullable = 'NO' AND column_default IS NULL AS needs_value
FROM information_schema.columns
WHERE table_schema = 'public' AND table_name = :table
ORDER BY ordinal_position;

-- relation_exists
SELECT 1
FROM information_schema.tables
WHERE table_schema = :schema AND table_name = :name;

-- fill_columns
-- Rows of a backup that lacks columns, which the live rows of the same keys still know.
CREATE TEMPORARY TABLE staging_1 AS
SELECT
    partly."id",
    partly._load_id
FROM partly_1 AS partly
INNER JOIN public.hired_employees AS target ON partly."id" = target."id";

-- restore_difference
-- What must be done to a table so that it becomes what is staged. Rows of another writer name no load: theirs is 0.
CREATE TEMPORARY TABLE difference_1 AS
SELECT
    COALESCE(staging."id", target."id") AS "id",
    staging."name", staging."datetime", staging."department_id", staging."job_id", 
    CASE WHEN staging._load_id = 0 THEN :change_id ELSE staging._load_id END AS _load_id,
    CAST(
        CASE
            WHEN target."id" IS NULL THEN 'added'
            WHEN staging."id" IS NULL THEN 'removed'
            WHEN target."name" <> staging."name" OR target."datetime" <> staging."datetime" OR target."department_id" <> staging."department_id" OR target."job_id" <> staging."job_id" OR OCTET_LENGTH(target."name") <> OCTET_LENGTH(staging."name") THEN 'changed'
            ELSE 'moved'
        END
        AS VARCHAR(8)
    ) AS _change
FROM staging_1 AS staging
FULL JOIN public.hired_employees AS target ON staging."id" = target."id"
WHERE
    staging."id" IS NULL
    OR target."id" IS NULL
    OR (staging._load_id <> 0 AND staging._load_id <> target._load_id)
    OR target."name" <> staging."name" OR target."datetime" <> staging."datetime" OR target."department_id" <> staging."department_id" OR target."job_id" <> staging."job_id" OR OCTET_LENGTH(target."name") <> OCTET_LENGTH(staging."name");

-- compared_difference
-- The same of staged rows that are known to differ, and of keys that are known to be too many.
CREATE TEMPORARY TABLE difference_1 AS
SELECT
    staging."id",
    staging."name", staging."datetime", staging."department_id", staging."job_id", 
    CASE WHEN staging._load_id = 0 THEN :change_id ELSE staging._load_id END AS _load_id,
    CAST(
        CASE
            WHEN target."id" IS NULL THEN 'added'
            WHEN target."name" <> staging."name" OR target."datetime" <> staging."datetime" OR target."department_id" <> staging."department_id" OR target."job_id" <> staging."job_id" OR OCTET_LENGTH(target."name") <> OCTET_LENGTH(staging."name") THEN 'changed'
            ELSE 'moved'
        END
        AS VARCHAR(8)
    ) AS _change
FROM staging_1 AS staging
LEFT JOIN public.hired_employees AS target ON staging."id" = target."id"
UNION ALL
SELECT
    target."id",
    target."name", target."datetime", target."department_id", target."job_id", 
    target._load_id,
    CAST('removed' AS VARCHAR(8)) AS _change
FROM public.hired_employees AS target
INNER JOIN newer_1 AS surplus ON target."id" = surplus."id";

-- undo_difference
-- What must be done to a table so that one load's rows are again what they were before it. A row that it removed comes
-- back unless something later had it - what was undone since does not count - or made the table anew without it.
CREATE TEMPORARY TABLE difference_1 AS
WITH other AS (
    SELECT kept."id"
    FROM ops.hired_employees_history AS kept
    LEFT JOIN ops.loads AS gone ON kept._load_id = gone.load_id AND kept._replaced_by = gone.undone_by
    WHERE kept._load_id = :load_id OR (kept._replaced_seq > :commit_seq AND gone.load_id IS NULL)
)

SELECT
    target."id",
    was."name", was."datetime", was."department_id", was."job_id", 
    was._load_id,
    CAST(CASE WHEN was."id" IS NULL THEN 'removed' ELSE 'changed' END AS VARCHAR(8)) AS _change
FROM public.hired_employees AS target
LEFT JOIN ops.hired_employees_history AS was
    ON
        target."id" = was."id"
        AND was._replaced_by = :load_id
        AND was._replaced_seq = :commit_seq
WHERE target._load_id = :load_id
UNION ALL
SELECT
    was."id",
    was."name", was."datetime", was."department_id", was."job_id", 
    was._load_id,
    CAST('added' AS VARCHAR(8)) AS _change
FROM ops.hired_employees_history AS was
LEFT JOIN public.hired_employees AS target ON was."id" = target."id"
LEFT JOIN other ON was."id" = other."id"
WHERE
    was._replaced_by = :load_id
    AND was._replaced_seq = :commit_seq
    AND target."id" IS NULL
    AND other."id" IS NULL
    AND NOT EXISTS (
        SELECT 1
        FROM ops.loads AS anew
        WHERE
            anew.table_name = :table
            AND anew.mode = 'replace'
            AND anew.commit_seq > :commit_seq
            AND anew.verdict IN ('loaded', 'duplicate')
            AND anew.undone_by IS NULL
    );

-- undo_deeper
-- A row that would become what a load brought which is undone itself becomes what that load replaced.
UPDATE difference_1
SET "name" = was."name", "datetime" = was."datetime", "department_id" = was."department_id", "job_id" = was."job_id", _load_id = was._load_id
FROM ops.hired_employees_history AS was, ops.loads AS undone
WHERE
    difference_1._load_id = undone.load_id
    AND undone.undone_by IS NOT NULL
    AND was."id" = difference_1."id"
    AND was._replaced_by = undone.load_id
    AND difference_1._change IN ('changed', 'added');

-- undo_nothing_before
-- What is left of such loads was brought by them: before, there was no row.
UPDATE difference_1
SET _change = CASE WHEN _change = 'changed' THEN 'removed' ELSE 'none' END
WHERE
    _change IN ('changed', 'added')
    AND _load_id IN (SELECT loads.load_id FROM ops.loads AS loads WHERE loads.undone_by IS NOT NULL);

-- undo_touched
-- Rows that a load put or removed and that what came later has changed, by what it was.
SELECT
    touched.change_id,
    COUNT(DISTINCT touched."id") AS rows_touched
FROM (
    SELECT
        put."id",
        put._replaced_by AS change_id
    FROM ops.hired_employees_history AS put
    LEFT JOIN public.hired_employees AS target ON put."id" = target."id" AND target._load_id = :load_id
    WHERE put._load_id = :load_id AND target."id" IS NULL
    UNION ALL
    SELECT
        was."id",
        COALESCE(live._load_id, later._replaced_by, anew.load_id) AS change_id
    FROM ops.hired_employees_history AS was
    LEFT JOIN public.hired_employees AS live ON was."id" = live."id"
    LEFT JOIN (
        SELECT
            kept."id",
            MAX(kept._replaced_by) AS _replaced_by
        FROM ops.hired_employees_history AS kept
        LEFT JOIN ops.loads AS gone ON kept._load_id = gone.load_id AND kept._replaced_by = gone.undone_by
        WHERE kept._replaced_seq > :commit_seq AND gone.load_id IS NULL
        GROUP BY kept."id"
    ) AS later ON was."id" = later."id"
    LEFT JOIN ops.hired_employees_history AS own ON was."id" = own."id" AND own._load_id = :load_id
    CROSS JOIN (
        SELECT MIN(load_id) AS load_id
        FROM ops.loads
        WHERE
            table_name = :table
            AND mode = 'replace'
            AND commit_seq > :commit_seq
            AND verdict IN ('loaded', 'duplicate')
            AND undone_by IS NULL
    ) AS anew
    WHERE
        was._replaced_by = :load_id
        AND was._replaced_seq = :commit_seq
        AND (live._load_id IS NULL OR live._load_id <> :load_id)
        AND own."id" IS NULL
        AND COALESCE(live._load_id, later._replaced_by, anew.load_id) IS NOT NULL
) AS touched
GROUP BY touched.change_id
ORDER BY touched.change_id;

-- undo_later_loads
-- Later loads that found rows as they were, and where their clean rows are.
SELECT
    later.load_id,
    kept.load_id AS kept_id,
    kept.clean_parts,
    -- A load of the rows that were gone of a file: what it left to newer files is not what it brought.
    CASE WHEN
        EXISTS (
            SELECT 1
            FROM ops.loads AS first
            WHERE
                first.arrival_id = later.arrival_id
                AND first.table_name = later.table_name
                AND first.mode = 'upsert'
                AND first.verdict IN ('loaded', 'duplicate')
                AND first.undone_by IS NULL
                AND first.commit_seq < later.commit_seq
        ) THEN later.commit_seq
    END AS left_seq
FROM ops.loads AS later
INNER JOIN ops.loads AS kept
    ON kept.load_id = CASE WHEN later.clean_parts = 0 THEN later.duplicate_of ELSE later.load_id END
WHERE
    later.table_name = :table
    AND later.commit_seq > :commit_seq
    AND later.verdict IN ('loaded', 'duplicate')
    AND later.undone_by IS NULL
    AND later.rows_unchanged > 0
ORDER BY later.commit_seq;

-- apply_history
INSERT INTO ops.hired_employees_history ("id", "name", "datetime", "department_id", "job_id", _load_id, _commit_seq, _replaced_by, _replaced_seq)
SELECT
    target."id", target."name", target."datetime", target."department_id", target."job_id",
    target._load_id,
    COALESCE(loads.commit_seq, 0),
    :change_id,
    :commit_seq
FROM public.hired_employees AS target
INNER JOIN staging_1 AS staging ON target."id" = staging."id"
LEFT JOIN ops.loads AS loads ON target._load_id = loads.load_id
WHERE staging._change IN ('changed', 'removed');

-- apply_delete
DELETE FROM public.hired_employees
WHERE "id" IN (SELECT staging."id" FROM staging_1 AS staging WHERE staging._change = 'removed');

-- apply_update
UPDATE public.hired_employees
SET "name" = staging."name", "datetime" = staging."datetime", "department_id" = staging."department_id", "job_id" = staging."job_id", _load_id = staging._load_id
FROM staging_1 AS staging
WHERE hired_employees."id" = staging."id" AND staging._change IN ('changed', 'moved');

-- apply_insert
INSERT INTO public.hired_employees ("id", "name", "datetime", "department_id", "job_id", _load_id)
SELECT
    staging."id", staging."name", staging."datetime", staging."department_id", staging."job_id",
    staging._load_id
FROM staging_1 AS staging
WHERE staging._change = 'added';

-- create_copy
CREATE TABLE public.hired_employees
DISTSTYLE AUTO
AS
SELECT
    "id", "name", "datetime", "department_id", "job_id",
    _load_id
FROM staging_1;

-- past_changes
SELECT
    restore_id,
    kind,
    commit_seq,
    target_seq,
    undone_load_id
FROM ops.restores
WHERE table_name = :table AND kind <> 'copy'
ORDER BY commit_seq;

-- mark_done_again
UPDATE ops.loads
SET undone_by = NULL, undone_seq = NULL
WHERE
    table_name = :table
    AND commit_seq > :after
    AND commit_seq <= :until
    AND undone_by IS NOT NULL;

-- mark_one_undone
UPDATE ops.loads
SET undone_by = :change_id, undone_seq = :commit_seq
WHERE load_id = :load_id AND undone_by IS NULL;

-- mark_undone
UPDATE ops.loads
SET undone_by = :change_id, undone_seq = :commit_seq
WHERE
    table_name = :table
    AND commit_seq > :after
    AND commit_seq <= :until
    AND verdict IN ('loaded', 'duplicate')
    AND undone_by IS NULL;

-- insert_restore
INSERT INTO ops.restores (
    restore_id, table_name, kind, backup_id, target_seq, target_at, undone_load_id, into_table, rows_added,
    rows_changed, rows_removed, rows_total, finished_at, dag_id, run_id, commit_seq, clean_parts, message, notes, rows_moved
)
VALUES (
    :restore_id, :table_name, :kind, :backup_id, :target_seq, :target_at, :undone_load_id,
    :into_table, :rows_added, :rows_changed, :rows_removed, :rows_total, :finished_at, :dag_id,
    :run_id, :commit_seq, :clean_parts, :message,
    :notes,
    :rows_moved
);

-- read_restore
SELECT
    table_name,
    kind,
    rows_added,
    rows_changed,
    rows_removed,
    rows_total,
    commit_seq,
    backup_id,
    target_seq,
    target_at,
    undone_load_id,
    into_table,
    clean_parts,
    rows_moved,
    FALSE AS dry_run,
    message,
    notes
FROM ops.restores
WHERE restore_id = :restore_id;

-- =====================
-- Go back to any moment
-- =====================

-- first_commit_after
-- The number of the first commit of a table after a moment.
SELECT MIN(commits.commit_seq) AS first_after
FROM (
    SELECT commit_seq
    FROM ops.loads
    WHERE table_name = :table AND finished_at > :at
    UNION ALL
    SELECT commit_seq
    FROM ops.restores
    WHERE table_name = :table AND kind <> 'copy' AND finished_at > :at
) AS commits;

-- events_between
-- What changed rows of a table, in the order of its commits.
SELECT
    commit_seq,
    load_id AS change_id,
    'load' AS kind,
    clean_parts,
    CASE WHEN warnings LIKE :gave_way THEN 1 ELSE 0 END AS has_left,
    rows_removed,
    rows_inserted + rows_updated AS rows_put,
    CAST(NULL AS BIGINT) AS rows_total
FROM ops.loads
WHERE
    table_name = :table
    AND verdict = 'loaded'
    AND commit_seq > :after
    AND commit_seq <= :until
    AND rows_inserted + rows_updated + rows_removed > 0
UNION ALL
SELECT
    commit_seq,
    restore_id AS change_id,
    kind,
    clean_parts,
    0 AS has_left,
    rows_removed,
    rows_added + rows_changed + rows_moved AS rows_put,
    rows_total
FROM ops.restores
WHERE
    table_name = :table
    AND kind <> 'copy'
    AND commit_seq > :after
    AND commit_seq <= :until
    AND (clean_parts > 0 OR rows_removed > 0)
ORDER BY commit_seq;

-- replay_delete
DELETE FROM public.hired_employees
WHERE "id" IN (SELECT staging."id" FROM staging_1 AS staging);

-- replay_insert
INSERT INTO public.hired_employees ("id", "name", "datetime", "department_id", "job_id", _load_id)
SELECT
    staging."id", staging."name", staging."datetime", staging."department_id", staging."job_id",
    staging._load_id
FROM staging_1 AS staging;

-- =========================
-- Refresh and read insights
-- =========================

-- hires_department_job
-- Names that differ in blanks at their end are equal here, but for their length.
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
GROUP BY
    CAST(EXTRACT(YEAR FROM hires.datetime) AS INTEGER),
    departments.department,
    OCTET_LENGTH(departments.department),
    jobs.job,
    OCTET_LENGTH(jobs.job);

-- departments_hired_above_mean
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
WHERE CAST(hired.hires AS DOUBLE PRECISION) > means.mean_hires;

-- insert_insight_refresh
INSERT INTO ops.insight_refreshes (
    insight, refreshed_at, rows_written, seconds, complete_up_to, dag_id, run_id
)
VALUES (
    :insight, :refreshed_at, :rows_written, :seconds, :complete_up_to, :dag_id, :run_id
);

-- newest_insight_refresh
SELECT
    complete_up_to,
    refreshed_at
FROM ops.insight_refreshes
WHERE insight = :insight
ORDER BY refreshed_at DESC
LIMIT 1;

-- read_hires_department_job
SELECT
    department,
    job,
    q1,
    q2,
    q3,
    q4
FROM public.hires
WHERE year = :year
ORDER BY department ASC NULLS LAST, OCTET_LENGTH(department), job ASC NULLS LAST, OCTET_LENGTH(job)
LIMIT :limit;

-- read_departments_hired_above_mean
SELECT
    id,
    department,
    hired
FROM public.hires
WHERE year = :year
ORDER BY hired DESC, id ASC NULLS LAST
LIMIT :limit;

-- chart_hires_by_department_job
SELECT
    department,
    job,
    q1 + q2 + q3 + q4 AS hires
FROM public.hires_department_job
WHERE year = :year AND q1 + q2 + q3 + q4 > 5
ORDER BY q1 + q2 + q3 + q4 DESC, department ASC NULLS LAST, OCTET_LENGTH(department), job ASC NULLS LAST, OCTET_LENGTH(job);

-- chart_top_jobs
SELECT
    job,
    CAST(SUM(q1) AS BIGINT) AS q1,
    CAST(SUM(q2) AS BIGINT) AS q2,
    CAST(SUM(q3) AS BIGINT) AS q3,
    CAST(SUM(q4) AS BIGINT) AS q4,
    CAST(SUM(q1 + q2 + q3 + q4) AS BIGINT) AS hires
FROM public.hires_department_job
WHERE year = :year
GROUP BY job, OCTET_LENGTH(job)
ORDER BY SUM(q1 + q2 + q3 + q4) DESC, job ASC NULLS LAST, OCTET_LENGTH(job)
LIMIT 9;

-- chart_departments_by_quarter
SELECT
    department,
    CAST(SUM(q1) AS BIGINT) AS q1,
    CAST(SUM(q2) AS BIGINT) AS q2,
    CAST(SUM(q3) AS BIGINT) AS q3,
    CAST(SUM(q4) AS BIGINT) AS q4,
    CAST(SUM(q1 + q2 + q3 + q4) AS BIGINT) AS hires
FROM public.hires_department_job
WHERE year = :year
GROUP BY department, OCTET_LENGTH(department)
ORDER BY department ASC NULLS LAST, OCTET_LENGTH(department);

-- chart_departments_above_mean
SELECT
    id,
    department,
    hired,
    mean_hired
FROM public.departments_hired_above_mean
WHERE year = :year
ORDER BY hired DESC, id ASC NULLS LAST;

-- newest_load_up_to
SELECT
    load_id,
    source_key,
    finished_at
FROM ops.loads
WHERE
    table_name = :table AND commit_seq <= :commit_seq
    AND verdict IN ('loaded', 'duplicate')
    AND (undone_seq IS NULL OR undone_seq > :commit_seq)
ORDER BY commit_seq DESC
LIMIT 1;

-- ===============
-- Read the ledger
-- ===============

-- read_loads
SELECT
    load_id,
    table_name,
    source_key,
    source_version,
    sha256,
    bytes,
    mode,
    verdict,
    code,
    message,
    rows_read,
    rows_inserted,
    rows_updated,
    rows_unchanged,
    rows_rejected,
    rows_removed,
    blank_lines,
    line_counts,
    warnings,
    started_at,
    finished_at,
    dag_id,
    run_id,
    repairs,
    duplicate_of,
    commit_seq,
    rejects_expired_at,
    undone_by
FROM ops.loads
WHERE 1 = 1
ORDER BY finished_at DESC, load_id DESC
LIMIT :limit;

-- loads_by_day
SELECT
    CAST(finished_at AT TIME ZONE 'UTC' AS DATE) AS finished_on,
    COUNT(*) AS loads,
    CAST(SUM(rows_read) AS BIGINT) AS rows_read,
    CAST(SUM(rows_rejected) AS BIGINT) AS rows_rejected
FROM ops.loads
WHERE 1 = 1
GROUP BY CAST(finished_at AT TIME ZONE 'UTC' AS DATE)
ORDER BY finished_on DESC
LIMIT :limit;

-- read_rejects_page
SELECT
    line,
    reasons,
    "raw"
FROM ops.rejected_rows
WHERE load_id = :load_id AND line > :after
ORDER BY line
LIMIT :limit;

-- oldest_change_after
-- When rows of a table changed for the first time after one of its commits, by a load or by a restore.
SELECT MIN(finished_at)
FROM (
    (
        SELECT finished_at
        FROM ops.loads
        WHERE
            table_name = :table
            AND commit_seq > :covered
            AND rows_inserted + rows_updated + rows_removed > 0
        ORDER BY commit_seq
        LIMIT 1
    )
    UNION ALL
    (
        SELECT finished_at
        FROM ops.restores
        WHERE
            table_name = :table
            AND kind <> 'copy'
            AND commit_seq > :covered
            AND rows_added + rows_changed + rows_removed > 0
        ORDER BY commit_seq
        LIMIT 1
    )
) AS changes;

-- newest_changes
-- When rows of each table last changed, by a load or by a restore.
SELECT
    table_name,
    MAX(finished_at) AS finished_at
FROM (
    SELECT
        known.table_name,
        loads.finished_at
    FROM ops.tables AS known
    INNER JOIN ops.loads AS loads
        ON known.table_name = loads.table_name AND known.changed_seq = loads.commit_seq
    UNION ALL
    SELECT
        known.table_name,
        restores.finished_at
    FROM ops.tables AS known
    INNER JOIN ops.restores AS restores
        ON known.table_name = restores.table_name AND known.changed_seq = restores.commit_seq
) AS changes
GROUP BY table_name
ORDER BY table_name;

-- =====================
-- Let go of what is old
-- =====================

-- due_clean
SELECT due.load_id
FROM (
    SELECT load_id
    FROM ops.loads
    WHERE
        table_name = :table
        AND (
            (verdict = 'rejected' AND finished_at < :refused_before)
            OR (verdict IN ('loaded', 'duplicate') AND finished_at < :applied_before)
        )
    UNION ALL
    SELECT restore_id AS load_id
    FROM ops.restores
    WHERE table_name = :table AND finished_at < :applied_before
) AS due
WHERE due.load_id IS NOT NULL;

-- due_rejects
SELECT load_id
FROM ops.loads
WHERE
    table_name = :table
    AND rows_rejected > 0
    AND finished_at < :before;
