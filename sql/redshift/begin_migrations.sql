CREATE SCHEMA IF NOT EXISTS ops;

-- Locked before anything is read by what must be written once: no key would see to that.
CREATE TABLE IF NOT EXISTS ops.lock_ledger (locked BOOLEAN);

CREATE TABLE IF NOT EXISTS ops.lock_insights (locked BOOLEAN);
