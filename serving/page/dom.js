/** Elements made by script. Words only ever become text nodes: no file name, style or caption can be markup. */

const HUES = [32, 345, 212, 150, 268, 186, 90, 310, 8, 238];
let styleOrder = new Map();

/** An element with attributes, listeners (`onclick`, ...) and children; null, undefined and false are left out. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** One of the drawings in index.html; they say nothing to screen readers. */
export function icon(name) {
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  drawing.setAttribute("aria-hidden", "true");
  drawing.setAttribute("class", "icon");
  drawing.append(use);
  return drawing;
}

/** A button with a drawing; `label` is its accessible name where the words are too short to stand alone. */
export function button(words, drawing, onclick, properties = {}) {
  const { label, ...others } = properties;
  const named = label ? { "aria-label": label, title: label } : {};
  return make(
    "button",
    { type: "button", class: "quiet", onclick, ...named, ...others },
    drawing && icon(drawing),
    words,
  );
}

export const byId = (id) => document.getElementById(id);

/** Says something to screen readers, once whatever they are saying is said. */
export function announce(words) {
  const region = byId("announcer");
  // The same words twice would be no change, and so not be read.
  region.textContent = region.textContent === words ? `${words}\u00a0` : words;
}

/** Styles are coloured by their place in the model, as in the reports of runs. */
export function colourStyles(styles) {
  styleOrder = new Map(styles.map((style, place) => [style, place]));
}

/** The hue of a style in degrees; of one that the model does not know, by its letters. */
export function hueOf(style) {
  const place =
    styleOrder.get(style) ?? [...style].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 997, 7);
  return HUES[place % HUES.length];
}

export function styleTag(style, tag = "span") {
  const element = make(tag, { class: "tag" }, style);
  element.style.setProperty("--hue", hueOf(style));
  return element;
}

/** Lets the browser save a file under a name. */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/** What localStorage holds under a key, or `otherwise` where it is empty, broken or forbidden. */
export function remembered(key, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** Puts a value into localStorage; false where there is no room or it is forbidden. */
export function remember(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}
