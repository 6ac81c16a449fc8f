CREATE TABLE {target} AS
SELECT
    {columns},
    _load_id
FROM {staging};

ALTER TABLE {target} ADD PRIMARY KEY ({key});
