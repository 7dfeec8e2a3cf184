/** The view of the kept captions: by picture and style, to change, remove and save. */

import { announce, button, byId, download, make, plural, styleTag } from "./dom.js";
import { editor } from "./editor.js";

export class KeptView {
  constructor(kept) {
    this.kept = kept;
    byId("kept-save").addEventListener("click", () => this.saveFile());
    byId("kept-clear").addEventListener("click", () => this.clear());
    byId("undo").addEventListener("click", () => this.undo());
    byId("undo-close").addEventListener("click", () => this.endUndo());
  }

  draw() {
    const { size } = this.kept;
    const pictures = this.kept.grouped();
    byId("kept-count").textContent = size.toLocaleString("en");
    byId("kept-empty").hidden = size > 0;
    byId("kept-full").hidden = size === 0;
    byId("kept-summary").textContent = `${plural(size, "caption")} of ${plural(pictures.length, "picture")}`;
    byId("kept-items").replaceChildren(...pictures.map((picture) => this.picture(picture)));
  }

  picture({ image, fingerprint, styles }) {
    const thumbnail = this.kept.thumbnails[fingerprint];
    const shown = thumbnail
      ? make("img", { src: thumbnail, alt: "", width: 112 })
      : make("div", { class: "unseen" }, "no preview");
    const groups = styles.map(([style, entries]) =>
      make(
        "div",
        { class: "kept-style" },
        styleTag(style, "h3"),
        make(
          "ul",
          { class: "kept-captions" },
          entries.map((entry) => this.line(entry)),
        ),
      ),
    );
    return make(
      "li",
      { class: "panel kept-picture" },
      make("div", { class: "kept-shown" }, shown),
      make("div", {}, make("h2", { class: "file" }, image), groups),
    );
  }

  line(entry) {
    const row = make("li", {});
    const edit = button("", "edit", () => this.edit(row, entry), { label: `Edit “${entry.caption}”` });
    const remove = button("", "close", () => this.remove(entry), { label: `Remove “${entry.caption}”` });
    row.append(make("p", { class: "caption" }, entry.caption), make("div", { class: "actions" }, edit, remove));
    return row;
  }

  edit(row, entry) {
    const done = (text) => {
      if (text === null) this.draw();
      else this.kept.change(entry, text);
      byId("kept-heading").focus();
    };
    row.replaceChildren(editor(entry.caption, { ask: null, explain: null, done }));
  }

  remove(entry) {
    this.offerUndo(`Removed “${entry.caption}”.`);
    this.kept.remove(entry);
    byId("kept-heading").focus();
  }

  clear() {
    this.offerUndo(`Removed ${plural(this.kept.size, "caption")}.`);
    this.kept.clear();
    byId("kept-heading").focus();
  }

  /** Until something else is removed, or the offer is closed: it does not go by itself, since some read slowly. */
  offerUndo(words) {
    this.before = this.kept.snapshot();
    byId("undo-words").textContent = words;
    byId("undo-panel").hidden = false;
    announce(words);
  }

  undo() {
    this.kept.restore(this.before);
    this.endUndo();
    announce("Undone");
  }

  endUndo() {
    byId("undo-panel").hidden = true;
    byId("kept-heading").focus();
  }

  saveFile() {
    download(new Blob([this.kept.toJsonLines()], { type: "application/x-ndjson" }), "captions.jsonl");
    announce("The list is saved as captions.jsonl");
  }
}
