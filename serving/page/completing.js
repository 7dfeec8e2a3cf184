/** Completion while one types: the captioner's likeliest continuations below a text field. */

import { announce, make } from "./dom.js";

const PAUSE = 180;
let made = 0;

/**
 * Offers completions below a text field: arrows choose one, Tab takes it, or the right arrow at the end; Esc closes.
 *
 * `ask(text, signal)` gives strings to append. Its errors go to `onFault`, and end the offers until the text changes.
 * The field keeps the role of a text field, which may have several lines; a combobox may not. Returns a function that
 * says what was open and ends all requests.
 */
export function completing(field, ask, onFault) {
  made += 1;
  const list = make("ul", {
    role: "listbox",
    id: `completions-${made}`,
    "aria-label": "Completions",
    class: "completions",
    hidden: true,
  });
  const state = { found: [], active: 0, timer: 0, request: null };
  field.setAttribute("aria-autocomplete", "list");
  field.setAttribute("aria-controls", list.id);
  field.after(list);

  const close = () => {
    clearTimeout(state.timer);
    state.request?.abort();
    list.hidden = true;
    list.replaceChildren();
    state.found = [];
    field.removeAttribute("aria-activedescendant");
  };
  const activate = (place) => {
    state.active = place;
    [...list.children].forEach((option, other) => option.setAttribute("aria-selected", String(other === place)));
    field.setAttribute("aria-activedescendant", list.children[place].id);
  };
  const take = (place) => {
    field.value += state.found[place];
    field.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const show = (found) => {
    state.found = found;
    // Of a word that is half typed, the whole is shown.
    const begun = /\S*$/.exec(field.value)[0];
    const words = found.map((text) => (/^\s/.test(text) ? text.trim() : begun + text));
    list.replaceChildren(...words.map((text, place) => optionOf(list, text, place, () => take(place))));
    list.hidden = found.length === 0;
    if (found.length === 0) return;
    activate(0);
    announce(`${found.length} completions. Tab takes “${words[0]}”, arrows choose, Escape closes.`);
  };
  const look = async () => {
    const text = field.value;
    state.request = new AbortController();
    try {
      const found = await ask(text, state.request.signal);
      if (field.value === text && document.activeElement === field && atEnd(field)) show(found);
    } catch (error) {
      if (error.name !== "AbortError") onFault(error);
    }
  };
  field.addEventListener("input", () => {
    close();
    if (atEnd(field)) state.timer = setTimeout(look, PAUSE);
  });
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    if (list.hidden) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const takes = (event.key === "Tab" && !event.shiftKey) || (event.key === "ArrowRight" && atEnd(field));
    if (step) activate((state.active + step + state.found.length) % state.found.length);
    else if (takes) take(state.active);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  });
  return close;
}

function optionOf(list, text, place, onclick) {
  const option = make("li", { role: "option", id: `${list.id}-${place}`, "aria-selected": "false", onclick }, text);
  // A press must not take the focus from the field.
  option.addEventListener("pointerdown", (event) => event.preventDefault());
  return option;
}

const atEnd = (field) => field.selectionStart === field.value.length && field.selectionEnd === field.value.length;
