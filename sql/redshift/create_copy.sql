CREATE TABLE {target}
DISTSTYLE AUTO
AS
SELECT
    {columns},
    _load_id
FROM {staging}
