/** The list of captions that were found good: it survives a reload, and is saved as JSON Lines. */

import { remember, remembered } from "./dom.js";

const KEY = "stylecap.kept";
// Browsers give a page some five million characters; the rest is for its other keys.
const MOST_CHARACTERS = 4_000_000;

export class KeptList {
  /** `onChange` is called after every change, another tab's included. */
  constructor(onChange) {
    this.onChange = onChange;
    this.load();
    addEventListener("storage", (event) => {
      if (event.key !== KEY) return;
      this.load();
      onChange();
    });
  }

  load() {
    const { entries = [], thumbnails = {} } = remembered(KEY, {});
    this.entries = entries;
    this.thumbnails = thumbnails;
  }

  get size() {
    return this.entries.length;
  }

  find({ fingerprint, style, caption }) {
    return this.entries.find(
      (entry) => entry.fingerprint === fingerprint && entry.style === style && entry.caption === caption,
    );
  }

  /**
   * Adds `{image, fingerprint, style, caption, model}`; the same caption of the same picture and style is there once.
   *
   * Throws Error, in words for people, if another picture has this name already: a line names its picture by its file,
   * and both pictures' captions would come together in training. So it does where the browser has no more room.
   */
  add(entry, thumbnail) {
    const namesake = this.entries.find(
      (other) => other.image === entry.image && other.fingerprint !== entry.fingerprint,
    );
    if (namesake) {
      throw new Error(
        `The list already has another picture called ${entry.image}. ` +
          "It names pictures by their files: rename this one, and drop it again.",
      );
    }
    if (this.find(entry)) return;
    const before = this.snapshot();
    this.entries = [...this.entries, entry];
    if (thumbnail) this.thumbnails = { ...this.thumbnails, [entry.fingerprint]: thumbnail };
    if (!this.save()) {
      this.restore(before);
      throw new Error("This browser keeps no more captions. Save the list, clear it, and go on.");
    }
  }

  remove(entry) {
    this.entries = this.entries.filter((other) => other !== entry);
    this.save();
  }

  change(entry, caption) {
    const changed = { ...entry, caption };
    const doubled = this.find(changed);
    this.entries = doubled
      ? this.entries.filter((other) => other !== entry)
      : this.entries.map((other) => (other === entry ? changed : other));
    this.save();
  }

  clear() {
    this.restore({ entries: [], thumbnails: {} });
  }

  snapshot() {
    return { entries: this.entries, thumbnails: this.thumbnails };
  }

  restore({ entries, thumbnails }) {
    this.entries = entries;
    this.thumbnails = thumbnails;
    this.save();
  }

  /** Writes the list; thumbnails go, the oldest first, before a caption is refused. False if that is not enough. */
  save() {
    const used = new Set(this.entries.map((entry) => entry.fingerprint));
    const pairs = Object.entries(this.thumbnails).filter(([fingerprint]) => used.has(fingerprint));
    let saved = false;
    for (; !saved; pairs.shift()) {
      this.thumbnails = Object.fromEntries(pairs);
      const value = this.snapshot();
      saved = JSON.stringify(value).length <= MOST_CHARACTERS && remember(KEY, value);
      if (pairs.length === 0) break;
    }
    this.onChange();
    return saved;
  }

  /** By picture: `{image, fingerprint, styles: [[style, entries]]}`, in the order in which they came. */
  grouped() {
    const pictures = new Map();
    for (const entry of this.entries) {
      const picture = pictures.get(entry.fingerprint) ?? {
        image: entry.image,
        fingerprint: entry.fingerprint,
        styles: new Map(),
      };
      pictures.set(entry.fingerprint, picture);
      picture.styles.set(entry.style, [...(picture.styles.get(entry.style) ?? []), entry]);
    }
    return [...pictures.values()].map((picture) => ({ ...picture, styles: [...picture.styles] }));
  }

  /** What data.format=jsonl reads: a picture, a style and its captions in each line. */
  toJsonLines() {
    const rows = this.grouped().flatMap(({ image, styles }) =>
      styles.map(([style, entries]) => ({ image, style, captions: entries.map((entry) => entry.caption) })),
    );
    return rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  }
}
