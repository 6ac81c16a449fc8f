CREATE TEMPORARY TABLE {staging} (
    {definitions},
    _load_id BIGINT NOT NULL
)
DISTSTYLE KEY DISTKEY ({key}) SORTKEY ({key})
