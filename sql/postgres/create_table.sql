CREATE TABLE IF NOT EXISTS {target} (
    {definitions},
    _load_id BIGINT NOT NULL,
    PRIMARY KEY ({key})
);

CREATE TABLE IF NOT EXISTS ops.{history} (
    {definitions},
    _load_id BIGINT NOT NULL,
    _commit_seq BIGINT NOT NULL,
    _replaced_by BIGINT NOT NULL,
    _replaced_seq BIGINT NOT NULL
);

CREATE INDEX IF NOT EXISTS {history}_by_event ON ops.{history} (_replaced_seq);
