/** The styles to caption in: a combobox over hundreds of names, and a chip for each chosen one. */

import { announce, byId, icon, make, plural, remember, remembered, styleTag } from "./dom.js";

const RECENT_KEY = "stylecap.recent-styles";
const CHOSEN_KEY = "stylecap.chosen-styles";
const MOST_RECENT = 6;
const MOST_SHOWN = 400;
const ALL_AT_FIRST = 4;

/** Letters as they are compared: without case and accents. */
export const folded = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().trim();

/** How well a style answers what was typed, 0 best; null if it does not. */
export function rank(style, query) {
  const name = folded(style.name);
  if (name === query) return 0;
  if (name.startsWith(query)) return 1;
  if (name.split(/[^\p{L}\p{N}]+/u).some((word) => word.startsWith(query))) return 2;
  if (style.aliases.some((alias) => folded(alias).startsWith(query))) return 3;
  return name.includes(query) ? 4 : null;
}

export class StylePicker {
  /** `onChange` is called after every change of `chosen`. */
  constructor(onChange) {
    this.onChange = onChange;
    this.styles = [];
    this.chosen = [];
    this.active = -1;
    this.field = byId("style-search");
    this.popup = byId("style-popup");
    this.list = byId("style-list");
    this.field.addEventListener("input", () => this.open());
    this.field.addEventListener("click", () => this.open());
    this.field.addEventListener("blur", () => this.close());
    this.field.addEventListener("keydown", (event) => this.onKey(event));
    // A press must not take the focus from the field: that would close the list before the click arrives.
    this.popup.addEventListener("pointerdown", (event) => event.preventDefault());
    byId("styles-all").addEventListener("click", () => this.choose(this.styles.map((style) => style.name)));
    byId("styles-none").addEventListener("click", () => this.choose([]));
  }

  /** Other styles to choose from, `[{name, aliases}]`; chosen ones that are not among them are dropped. */
  offer(styles, neutral) {
    const known = new Set(styles.map((style) => style.name));
    const before = this.styles.length ? this.chosen : remembered(CHOSEN_KEY, null);
    this.styles = styles;
    this.neutral = neutral;
    const left = (before ?? []).filter((name) => name.split("+").every((part) => known.has(part)) || known.has(name));
    this.choose(before || styles.length > ALL_AT_FIRST ? left : styles.map((style) => style.name));
    byId("styles-all").textContent = `All ${styles.length.toLocaleString("en")}`;
  }

  choose(names) {
    this.chosen = names;
    remember(CHOSEN_KEY, names);
    const chips = names.map((name) => this.chip(name));
    byId("chips").replaceChildren(...chips);
    byId("chips").hidden = names.length === 0;
    byId("styles-none").hidden = names.length === 0;
    this.onChange();
  }

  chip(name) {
    const chip = styleTag(name, "li");
    const remove = make(
      "button",
      { type: "button", "aria-label": `Remove ${name}`, onclick: () => this.removeChip(name) },
      icon("close"),
    );
    chip.append(remove);
    return chip;
  }

  removeChip(name) {
    const place = this.chosen.indexOf(name);
    this.choose(this.chosen.filter((other) => other !== name));
    announce(`${name} removed`);
    const chips = byId("chips").querySelectorAll("button");
    (chips[Math.min(place, chips.length - 1)] ?? this.field).focus();
  }

  toggle(name) {
    const had = this.chosen.includes(name);
    this.choose(had ? this.chosen.filter((other) => other !== name) : [...this.chosen, name]);
    if (!had)
      remember(
        RECENT_KEY,
        [name, ...remembered(RECENT_KEY, []).filter((other) => other !== name)].slice(0, MOST_RECENT),
      );
    announce(`${name} ${had ? "removed" : "added"}, ${plural(this.chosen.length, "style")} chosen`);
    // Who browses may take several; who searched has found, and the list would lie over what comes next.
    if (this.field.value === "") this.draw();
    else this.close();
    this.field.value = "";
  }

  /** What the list shows: groups of `[title, names]`. */
  groups() {
    const query = folded(this.field.value);
    if (query === "") {
      const known = new Set(this.styles.map((style) => style.name));
      const recent = remembered(RECENT_KEY, []).filter((name) => known.has(name));
      const names = this.styles.map((style) => style.name).filter((name) => !recent.includes(name));
      return [
        ["Recent", recent],
        [recent.length ? "Others" : "Styles", names],
      ].filter(([, group]) => group.length);
    }
    const ranked = this.styles.map((style) => [rank(style, query), style.name]).filter(([place]) => place !== null);
    const names = ranked.sort(([a], [b]) => a - b).map(([, name]) => name);
    const mixed = this.combination(query);
    return [
      ["Several at once", mixed ? [mixed] : []],
      ["Found", names],
    ].filter(([, group]) => group.length);
  }

  /** The styles of "romantic+pirate" under their own names, one caption in both; null if that is not what was typed. */
  combination(query) {
    const parts = query
      .split("+")
      .map((part) => this.styles.findIndex((style) => folded(style.name) === part.trim()));
    const names = [...new Set(parts)].sort((a, b) => a - b).map((place) => this.styles[place]?.name);
    const fit = parts.length > 1 && names.length === parts.length;
    return fit && names.every((name) => name && name !== this.neutral) ? names.join("+") : null;
  }

  open() {
    this.active = this.field.value.trim() ? 0 : -1;
    this.popup.hidden = false;
    this.field.setAttribute("aria-expanded", "true");
    this.draw();
  }

  close() {
    this.popup.hidden = true;
    this.active = -1;
    this.field.setAttribute("aria-expanded", "false");
    this.field.removeAttribute("aria-activedescendant");
  }

  draw() {
    let left = MOST_SHOWN;
    this.options = [];
    const groups = this.groups().map(([title, names], place) => {
      const shown = names.slice(0, left);
      left -= shown.length;
      const heading = make("li", { role: "presentation", id: `style-group-${place}`, class: "group" }, title);
      return make(
        "ul",
        { role: "group", "aria-labelledby": heading.id },
        heading,
        shown.map((name) => this.option(name)),
      );
    });
    this.list.replaceChildren(...groups);
    const note =
      this.options.length === 0 ? "No style is called that here." : left <= 0 ? "Type to see the others." : "";
    byId("style-note").textContent = note;
    this.list.hidden = this.options.length === 0;
    if (this.options.length === 0) announce(note);
    this.activate(Math.min(this.active, this.options.length - 1));
  }

  option(name) {
    const picked = this.chosen.includes(name);
    const id = `style-option-${this.options.length}`;
    const option = make(
      "li",
      { role: "option", id, "aria-selected": String(picked), onclick: () => this.toggle(name) },
      icon("check"),
      make("span", {}, name),
    );
    this.options.push({ name, element: option });
    return option;
  }

  activate(place) {
    this.active = place;
    this.options.forEach(({ element }, other) => element.classList.toggle("active", other === place));
    const option = this.options[place]?.element;
    if (option) {
      this.field.setAttribute("aria-activedescendant", option.id);
      option.scrollIntoView({ block: "nearest" });
    } else this.field.removeAttribute("aria-activedescendant");
  }

  onKey(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const closed = this.popup.hidden;
    if (step) {
      if (closed) this.open();
      const count = this.options.length;
      const start = this.active === -1 && step === -1 ? 0 : this.active;
      if (count) this.activate((start + step + count) % count);
      event.preventDefault();
    } else if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      if (!closed && this.active >= 0) this.toggle(this.options[this.active].name);
    } else if (event.key === "Escape" && !closed) {
      event.stopPropagation();
      this.close();
    } else if (event.key === "Backspace" && this.field.value === "" && this.chosen.length) {
      const last = this.chosen.at(-1);
      this.choose(this.chosen.slice(0, -1));
      announce(`${last} removed`);
      if (!closed) this.draw();
    }
  }
}
