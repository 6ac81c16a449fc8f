// Values as people read them.

const numbers = new Intl.NumberFormat("en-US");
const means = new Intl.NumberFormat("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB"];

export const UNKNOWN = "(unknown)";

/** 1,234 */
export const number = (value) => (value == null ? "" : numbers.format(value));

/** 12.3 */
export const mean = (value) => (value == null ? "" : means.format(value));

/** 2026-11-27 14:05 UTC, from ISO 8601. */
export const moment = (text) => (text ? `${text.slice(0, 10)} ${text.slice(11, 16)} UTC` : "");

/** 1.5 MiB */
export function size(bytes) {
  if (bytes == null) return "";
  let unit = 0;
  while (bytes >= 1024 && unit < UNITS.length - 1) { bytes /= 1024; unit += 1; }
  return `${unit === 0 ? bytes : bytes.toFixed(1)} ${UNITS[unit]}`;
}

/** 2.5 %, of two counts; nothing of nothing. */
export const share = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(1)} %` : "");

/** "1 row", "2 rows". */
export const count = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;
