-- Finds a table's first commit after a given one, however long its ledger is.
CREATE INDEX IF NOT EXISTS loads_by_commit ON ops.loads (table_name, commit_seq);
