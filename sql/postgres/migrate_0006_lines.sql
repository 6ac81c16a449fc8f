ALTER TABLE ops.loads
-- Physical lines as a JSON object: of the file, and of its accepted and rejected rows, header, blank and ignored
-- lines; empty where the file was not read to its end, and for loads of older versions.
ADD COLUMN line_counts VARCHAR(256);
