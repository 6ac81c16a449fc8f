CREATE TABLE {target} (
    {definitions},
    _load_id BIGINT NOT NULL,
    PRIMARY KEY ({key})
)
