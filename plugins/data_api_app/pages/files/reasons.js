// What the codes of reasons and verdicts mean, in words.

const REASONS = {
  missing: "Missing or blank.",
  not_an_integer: "Not a whole number: only the digits 0 to 9 may be used.",
  out_of_range: "Larger than 2147483647.",
  not_a_datetime: "Must be an existing time, YYYY-MM-DDTHH:MM:SSZ, as in 2021-07-27T16:02:08Z.",
  too_long: "Longer than 256 bytes.",
  bad_encoding: "Not text in UTF-8.",
  duplicate_id: "A row before this one has the same id.",
  column_count: "The row has more or fewer values than the file has columns.",
  unclosed_quote: "A quote is opened and never closed.",
  bad_quote: "Text stands behind a closing quote. Inside a quoted value, write a quote twice.",
  swallowed_lines: "A quoted value holds lines that look like rows. Look for a quote that is in the wrong place.",
  unknown_reference: "Refers to a row that is not there.",
};

const VERDICTS = {
  loaded: ["good", "loaded"],
  duplicate: ["", "duplicate"],
  rejected: ["bad", "rejected"],
  failed: ["bad", "failed"],
  dry_run: ["", "dry run"],
};

/** What a load's warning counts: rows with `column` that refers to nothing (yet), that gave way to newer files, or that began with a mark. */
export function warning(name, rows) {
  if (name === "superseded") return `${rows} gave way to newer files`;
  if (name === "byte_order_marks") return `${rows} began with a byte-order mark, which is left out`;
  return `${rows} with a ${name} that refers to nothing (yet)`;
}

/** A reason in words. */
export const why = (code) => REASONS[code] || code;

/** A verdict's class and its word. */
export const verdict = (code) => VERDICTS[code] || ["", code];
