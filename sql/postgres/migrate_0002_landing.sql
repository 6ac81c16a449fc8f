ALTER TABLE ops.loads
-- When the file was first seen, and the time S3 gives it: with the key, its place in the order of arrivals.
ADD COLUMN listed_at TIMESTAMPTZ,
ADD COLUMN arrived_at TIMESTAMPTZ,
-- Parts of clean parquet; what lies beyond them in S3 is of a try that did not end.
ADD COLUMN clean_parts INTEGER NOT NULL DEFAULT 0,
ADD COLUMN clean_expired_at TIMESTAMPTZ,
ADD COLUMN rejects_expired_at TIMESTAMPTZ;

CREATE INDEX IF NOT EXISTS loads_by_place ON ops.loads (table_name, listed_at);
CREATE INDEX IF NOT EXISTS loads_by_key ON ops.loads (source_key);

-- Files that a fault keeps from being loaded or moved away, until the next try is due.
CREATE TABLE IF NOT EXISTS ops.holds (
    arrival_id BIGINT PRIMARY KEY,
    source_key VARCHAR(4096) NOT NULL,
    attempts INTEGER NOT NULL,
    reason VARCHAR(4096) NOT NULL,
    since TIMESTAMPTZ NOT NULL,
    next_try_at TIMESTAMPTZ NOT NULL
);
