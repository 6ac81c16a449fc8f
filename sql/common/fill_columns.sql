-- Rows of a backup that lacks columns, which the live rows of the same keys still know.
CREATE TEMPORARY TABLE {staging} AS
SELECT
    {filled_columns},
    partly._load_id
FROM {partly} AS partly
INNER JOIN {target} AS target ON partly.{key} = target.{key}
