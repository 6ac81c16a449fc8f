CREATE TEMPORARY TABLE {staging} (
    {definitions}
)
