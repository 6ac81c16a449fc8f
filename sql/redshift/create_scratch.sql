-- No key is declared: nothing enforces it, but the planner would rely on it.
CREATE TABLE {target} (
    {definitions},
    _load_id BIGINT NOT NULL
)
DISTSTYLE KEY DISTKEY ({key})
