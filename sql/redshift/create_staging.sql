CREATE TEMPORARY TABLE {staging} (
    {definitions}
)
DISTSTYLE KEY DISTKEY ({key}) SORTKEY ({key})
