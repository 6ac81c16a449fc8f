-- Nothing changes but that it is applied, and when: runs that were triggered before may have conf of any keys.
SELECT COUNT(*) FROM ops.migrations;
