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
