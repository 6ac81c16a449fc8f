// CSV as RFC 4180 has it, made of values.

const quoted = (value) => `"${value.replaceAll('"', '""')}"`;

/** A file with a header. */
export function csvFile(name, columns, rows) {
  const lines = [columns, ...rows].map((values) => `${values.map(quoted).join(",")}\r\n`);
  return new File(lines, name, { type: "text/csv" });
}
