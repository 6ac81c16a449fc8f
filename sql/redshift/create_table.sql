-- No keys are declared: nothing enforces them, but the planner would rely on them.
CREATE TABLE IF NOT EXISTS {target} (
    {definitions},
    _load_id BIGINT NOT NULL
)
{distribution} SORTKEY ({key});

CREATE TABLE IF NOT EXISTS ops.{history} (
    {definitions},
    _load_id BIGINT NOT NULL,
    _commit_seq BIGINT NOT NULL,
    _replaced_by BIGINT NOT NULL,
    _replaced_seq BIGINT NOT NULL
)
DISTSTYLE KEY DISTKEY ({key}) SORTKEY (_replaced_seq);

-- The table's lock: one on the rows themselves would keep readers waiting.
CREATE TABLE IF NOT EXISTS ops.lock_{table} (locked BOOLEAN);
