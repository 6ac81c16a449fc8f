// Elements of a page. What comes from elsewhere is only ever put into them as text.

/** An element: `properties` are attributes, or listeners where they are functions; `children` are elements or text. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false).map((child) => child instanceof Node ? child : String(child)));
  return element;
}

/** A table that lines up. `columns` are `{title, cell, kind}`: `cell` makes a row's text or element, `kind` is a class;
 *  the first column names the row. */
export function table(caption, columns, rows, { tall = false, hideCaption = false } = {}) {
  const head = el("tr", {}, columns.map(({ title, kind }) => el("th", { scope: "col", class: kind }, title)));
  const line = (row) => el("tr", {}, columns.map(({ cell, kind }, place) => {
    const found = cell(row);
    return found instanceof HTMLTableCellElement ? found
      : el(place === 0 ? "th" : "td", { scope: place === 0 && "row", class: kind }, found);
  }));
  return el("div", { class: tall ? "scroll tall" : "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {}, el("caption", { class: hideCaption && "spoken" }, caption), el("thead", {}, head), el("tbody", {}, rows.map(line))));
}

/** Whether a question is still the newest of its kind when its answer has come: `const mine = turns(); ... mine()`. */
export function turnTaking() {
  let newest = 0;
  return () => {
    const own = (newest += 1);
    return () => own === newest;
  };
}

/** A notice that is read out when it appears; `kind` is good, warn, bad or "". */
export function notice(kind, ...children) {
  return el("div", { class: `notice ${kind}`, role: kind === "bad" ? "alert" : "status" }, children.flat().filter(Boolean).map((child) => child instanceof Node ? child : el("p", {}, child)));
}

/** What is shown in place of a list that is empty: what to do next. */
export function empty(...children) {
  return el("div", { class: "empty" }, children.flat().map((child) => child instanceof Node ? child : el("p", {}, child)));
}

/** What is shown while something is waited for. */
export const working = (text, ...more) => el("div", { class: "notice", role: "status" }, el("p", {}, text, ...more), el("progress", { "aria-label": text }));

/** Say how something goes on that takes a while; the same words are not said twice. */
export function progress(place, text, ...more) {
  if (place.dataset.said === text) return;
  fill(place, working(text, ...more));
  place.dataset.said = text;
}

/** Fill a place anew. */
export function fill(place, ...children) {
  delete place.dataset.said;
  place.replaceChildren(...children.flat().filter((child) => child != null && child !== false));
}

/** Go on in a list that was filled anew by a button that was in it. */
export function goOn(list) {
  list.querySelector("[tabindex]")?.focus();
}

/** The page is there, and may be used. */
export function ready() {
  document.getElementById("page").setAttribute("aria-busy", "false");
  performance.mark("usable");
}
