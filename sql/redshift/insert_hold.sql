INSERT INTO ops.holds (arrival_id, source_key, attempts, reason, since, next_try_at)
VALUES (%(arrival_id)s, %(key)s, %(attempts)s, %(reason)s, %(since)s, %(next_try_at)s)
