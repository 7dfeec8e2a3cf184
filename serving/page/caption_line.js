/** One caption of a picture: to keep, and to change with completion. */

import { announce, button, make } from "./dom.js";
import { editor } from "./editor.js";
import { thumbnail } from "./pictures.js";

export class CaptionLine {
  /** `caption` is `{text, log_prob, cut, style, model}`. */
  constructor(card, caption) {
    this.card = card;
    this.caption = caption;
    this.text = caption.text;
    this.element = make("li", {});
    this.draw();
  }

  get kept() {
    return this.card.page.kept.find({
      fingerprint: this.card.picture.fingerprint,
      style: this.caption.style,
      caption: this.text,
    });
  }

  draw() {
    const kept = Boolean(this.kept);
    const words = this.text || "(no words)";
    const keep = button("", kept ? "kept" : "keep", () => this.toggle(), {
      label: `Keep “${words}”`,
      "aria-pressed": String(kept),
      class: "quiet keep",
      disabled: !this.text,
    });
    const edit = button("", "edit", () => this.edit(), { label: `Edit “${words}”`, class: "quiet edit" });
    const marks = [
      this.text !== this.caption.text && "edited",
      this.caption.cut && this.text === this.caption.text && "cut at its longest",
    ].filter(Boolean);
    this.element.classList.toggle("is-kept", kept);
    this.element.replaceChildren(
      make(
        "p",
        { class: this.text ? "caption" : "caption foot" },
        words,
        marks.map((mark) => make("small", { class: "mark" }, mark)),
      ),
      make("div", { class: "actions" }, keep, edit),
    );
  }

  async toggle() {
    const { kept, picture } = { kept: this.card.page.kept, picture: this.card.picture };
    const entry = this.kept;
    if (entry) kept.remove(entry);
    else {
      const { style, model } = this.caption;
      try {
        kept.add(
          { image: picture.name, fingerprint: picture.fingerprint, style, caption: this.text, model },
          await thumbnail(picture),
        );
      } catch (error) {
        this.draw();
        this.element.append(make("p", { class: "fault", role: "alert" }, error.message));
        this.element.querySelector(".keep").focus();
        return;
      }
    }
    announce(entry ? "No longer kept" : `Kept, ${kept.size} in the list`);
    this.element.querySelector(".keep").focus();
  }

  edit() {
    const { page, picture } = this.card;
    const done = (text) => {
      const entry = this.kept;
      if (text !== null) this.text = text;
      if (text !== null && entry) page.kept.change(entry, text);
      this.draw();
      this.element.querySelector(".edit").focus();
    };
    const ask = page.complete(picture, this.caption.style, this.caption.model);
    this.element.replaceChildren(editor(this.text, { ask, explain: page.explain, done }));
  }
}
