-- Rows that are as a load left them: the transaction that wrote them wrote the load's row of the ledger too.
SELECT COUNT(*)
FROM {target} AS live
INNER JOIN ops.loads AS loads ON live._load_id = loads.load_id AND live.xmin = loads.xmin
WHERE live._load_id = %(load_id)s
