-- The moment it is applied is what counts: the conf of runs that were triggered before may have any keys.
COMMENT ON TABLE ops.migrations IS 'Changes of the schema, and when each was applied';
