/** A picture and what was written about it: waiting, being written, written, or why not. */

import { adviceFor } from "./api.js";
import { announce, button, icon, make, styleTag } from "./dom.js";
import { CaptionLine } from "./caption_line.js";

let made = 0;

/**
 * The card of a picture.
 *
 * `page` gives it what it cannot know: `kept`, `complete(picture, style, model)`, `explain(fault)`, and what happens on
 * `again(card)`, `cancel(card)`, `remove(card)`, `share(card, form)`.
 */
export class PictureCard {
  constructor(picture, page) {
    made += 1;
    this.picture = picture;
    this.page = page;
    this.written = new Map();
    this.layout = { models: [], styles: [] };
    const title = make("h2", { class: "file", id: `picture-${made}` }, picture.name);
    this.status = make("p", { class: "status" });
    this.actions = make("div", { class: "actions" });
    this.notice = make("div", { class: "notice", role: "alert", hidden: true });
    this.body = make("div", { class: "styles" });
    this.image = make("img", { src: picture.url, alt: `Picture ${picture.name}` });
    this.image.addEventListener("error", () =>
      this.image.replaceWith(make("div", { class: "unseen" }, "This browser cannot show the picture.")),
    );
    this.element = make(
      "article",
      { class: "panel picture", "aria-labelledby": title.id },
      make("div", { class: "shown" }, this.image),
      make(
        "div",
        { class: "told" },
        make("header", {}, make("div", {}, title, this.status), this.actions),
        this.notice,
        this.body,
      ),
    );
    this.show("new", "Ready");
  }

  /** Draws the state, `new`, `waiting`, `working`, `done`, `failed` or `cancelled`, with a line about it. */
  show(state, words) {
    this.state = state;
    this.element.dataset.state = state;
    this.element.setAttribute("aria-busy", String(state === "working"));
    this.status.replaceChildren(...(state === "working" ? [make("span", { class: "spinner" }), words] : [words]));
    const focused = this.actions.contains(document.activeElement);
    this.actions.replaceChildren(...this.buttons());
    if (focused) this.actions.querySelector("button")?.focus();
    if (state !== "failed") this.notice.hidden = true;
    this.draw();
  }

  buttons() {
    const { page, picture } = this;
    if (this.state === "waiting" || this.state === "working")
      return [button("Cancel", null, () => page.cancel(this), { label: `Cancel ${picture.name}` })];
    const remove = button("", "close", () => page.remove(this), { label: `Remove ${picture.name}` });
    if (this.lines().length === 0) return [remove];
    const png = button("PNG", "share", () => page.share(this, "png"), { label: `Share ${picture.name} as PNG` });
    const json = button("JSON", "share", () => page.share(this, "json"), { label: `Share ${picture.name} as JSON` });
    return [png, json, remove];
  }

  /** Says why nothing came, what to do, and offers to try again. */
  fail(fault) {
    this.show("failed", "Not written");
    const advice = adviceFor(fault);
    const words = make("p", {}, make("strong", {}, fault.message), advice && ` ${advice}`);
    this.notice.replaceChildren(
      icon("alert"),
      words,
      button("Try again", null, () => this.page.again(this), { label: `Try ${this.picture.name} again` }),
    );
    this.notice.hidden = false;
  }

  /** Which models and styles are to be seen; `knows(model, style)` says whether a model has learned a style. */
  arrange(models, styles, knows) {
    const same = JSON.stringify([models, styles]) === JSON.stringify([this.layout.models, this.layout.styles]);
    this.layout = { models, styles, knows };
    if (!same) this.draw();
  }

  /** Takes what the service answered to these styles, which were asked for under `key` (see `lacks`). */
  take(answer, model, styles, key) {
    styles.forEach((style, place) => {
      const lines = answer.captions[place].captions.map(
        (caption) => new CaptionLine(this, { ...caption, style, model }),
      );
      this.written.set(`${model}\n${style}`, { key, lines, answer });
    });
    this.draw();
  }

  /** Styles that are not written yet by a model under `key`, which stands for the options. */
  lacks(model, styles, key) {
    return styles.filter((style) => this.written.get(`${model}\n${style}`)?.key !== key);
  }

  /** All lines that are to be seen. */
  lines() {
    const { models, styles } = this.layout;
    return styles.flatMap((style) => models.flatMap((model) => this.written.get(`${model}\n${style}`)?.lines ?? []));
  }

  /** Seconds that the service took for what is to be seen, by model. */
  seconds() {
    const { models, styles } = this.layout;
    const answers = models.map((model) => [
      model,
      new Set(styles.map((style) => this.written.get(`${model}\n${style}`)?.answer).filter(Boolean)),
    ]);
    return answers
      .filter(([, those]) => those.size)
      .map(([model, those]) => [model, [...those].reduce((sum, answer) => sum + answer.seconds, 0)]);
  }

  draw() {
    const { models, styles } = this.layout;
    const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
    this.body.classList.toggle("compared", models.length > 1);
    this.body.replaceChildren(
      ...styles.map((style) =>
        make(
          "section",
          { class: "style" },
          styleTag(style, "h3"),
          models.map((model) => this.cell(model, style)),
        ),
      ),
    );
    // Who edits one caption while others come goes on where they were.
    focused?.focus();
  }

  cell(model, style) {
    const written = this.written.get(`${model}\n${style}`);
    const named = this.layout.models.length > 1 && make("h4", { class: "model" }, model);
    if (written)
      return make(
        "div",
        { class: "cell" },
        named,
        make(
          "ul",
          { class: "captions" },
          written.lines.map((line) => line.element),
        ),
      );
    if (!this.layout.knows(model, style))
      return make("div", { class: "cell" }, named, make("p", { class: "foot" }, "not trained in this style"));
    const hoped = this.state === "waiting" || this.state === "working";
    return make(
      "div",
      { class: "cell" },
      named,
      hoped ? make("div", { class: "hoped" }, make("span", {}), make("span", {})) : make("p", { class: "foot" }, "–"),
    );
  }

  say(words) {
    announce(`${this.picture.name}: ${words}`);
  }
}
