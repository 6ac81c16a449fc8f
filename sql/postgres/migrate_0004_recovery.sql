ALTER TABLE ops.loads
-- The restore or undo that took the load's rows away again, and the number of its commit: the file counts as new.
ADD COLUMN undone_by BIGINT,
ADD COLUMN undone_seq BIGINT;

ALTER TABLE ops.restores
ADD COLUMN into_table VARCHAR(63),
ADD COLUMN rows_total BIGINT NOT NULL DEFAULT 0,
-- Rows of equal values that another load is named for.
ADD COLUMN rows_moved BIGINT NOT NULL DEFAULT 0,
ADD COLUMN message VARCHAR(4096) NOT NULL DEFAULT '',
ADD COLUMN notes VARCHAR(65535) NOT NULL DEFAULT '[]',
-- What it changed is kept as clean parquet, so that later moments can be reached from earlier backups.
ADD COLUMN clean_parts INTEGER NOT NULL DEFAULT 0,
ADD COLUMN clean_expired_at TIMESTAMPTZ;

CREATE INDEX IF NOT EXISTS restores_by_commit ON ops.restores (table_name, commit_seq);

ALTER TABLE ops.backups
ADD COLUMN kind VARCHAR(16) NOT NULL DEFAULT 'taken';
