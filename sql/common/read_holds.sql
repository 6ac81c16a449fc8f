SELECT
    arrival_id,
    source_key,
    attempts,
    reason,
    since,
    next_try_at
FROM ops.holds
