INSERT INTO ops.loads ({columns})
VALUES ({values})
