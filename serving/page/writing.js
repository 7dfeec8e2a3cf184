/** From pictures and settings to requests: what is missing is asked for, two pictures at a time. */

import { call, patiently } from "./api.js";
import { plural } from "./dom.js";
import { shrunk } from "./pictures.js";

const AT_A_TIME = 2;
// Fewer than a service takes in one request unless told otherwise; of hundreds, the first ones are soon there.
const STYLES_AT_A_TIME = 16;
const CAPTIONS_AT_A_TIME = 64;
const TOO_LARGE = ["too_large", "picture_too_large"];

/** What the cards are to be written with: models and styles by name, options as the service calls them. */
export class Work {
  constructor(models, styles, options) {
    this.models = models;
    this.styles = styles;
    this.options = options;
    this.key = JSON.stringify(options);
    this.atOnce = Math.min(STYLES_AT_A_TIME, Math.floor(CAPTIONS_AT_A_TIME / (options.num ?? 1)));
  }

  /** Styles that a card lacks, by model: `[[name, styles]]`; a model is asked for nothing that it has not learned. */
  missing(card) {
    const asked = this.models.map((model) => [
      model.name,
      card.lacks(
        model.name,
        this.styles.filter((style) => knows(model, style)),
        this.key,
      ),
    ]);
    return asked.filter(([, styles]) => styles.length);
  }
}

/** Whether a model has learned a style, or all of several that are joined by "+". */
export const knows = (model, style) =>
  model.styles.includes(style) || style.split("+").every((part) => model.styles.includes(part));

export class Writer {
  /** `onChange(running, done, total)` follows the work that goes on, `onFault(card, fault)` what fails. */
  constructor(onChange, onFault) {
    this.onChange = onChange;
    this.onFault = onFault;
    this.queue = [];
    this.running = new Map();
    this.done = 0;
    this.total = 0;
  }

  get busy() {
    return this.running.size + this.queue.length > 0;
  }

  add(cards, work) {
    if (!this.busy) this.done = this.total = 0;
    this.queue.push(...cards.map((card) => ({ card, work })));
    this.total += cards.length;
    for (const card of cards) card.show("waiting", "Waiting");
    this.next();
  }

  /** Takes a card out of the queue, or ends its request. */
  cancel(card) {
    const waiting = this.queue.length;
    this.queue = this.queue.filter((job) => job.card !== card);
    this.running.get(card)?.abort();
    if (this.queue.length < waiting) this.finish(card, "cancelled", "Cancelled");
  }

  cancelAll() {
    for (const card of [...this.queue.map((job) => job.card), ...this.running.keys()]) this.cancel(card);
  }

  next() {
    while (this.running.size < AT_A_TIME && this.queue.length) this.start(this.queue.shift());
    this.onChange(this.busy, this.done, this.total);
  }

  async start({ card, work }) {
    const stop = new AbortController();
    this.running.set(card, stop);
    try {
      // One model after the other: at the same time, each would seem slower than it is.
      for (const [model, styles] of work.missing(card)) {
        for (let first = 0; first < styles.length; first += work.atOnce) {
          await this.write(card, model, styles.slice(first, first + work.atOnce), work, stop.signal);
        }
      }
      const written = plural(card.lines().length, "caption");
      const times = card
        .seconds()
        .map(([model, time]) => `${work.models.length > 1 ? `${model} ` : ""}${time.toFixed(2)} s`);
      card.say(`${written} written`);
      this.finish(
        card,
        "done",
        times.length ? `${written} · ${times.join(" · ")}` : "No chosen model has learned these styles",
      );
    } catch (error) {
      if (error.name === "AbortError") this.finish(card, "cancelled", "Cancelled");
      else {
        card.fail(error);
        this.finish(card);
        this.onFault(card, error);
      }
    }
  }

  finish(card, state, words) {
    this.running.delete(card);
    this.done += 1;
    if (state) card.show(state, words);
    this.next();
  }

  async write(card, model, styles, work, signal) {
    const left = work.missing(card).reduce((sum, [, names]) => sum + names.length, 0);
    const asking = `Writing, ${plural(left, "style")} to go`;
    card.show("working", asking);
    let copy = null;
    const ask = () => call("v1/captions", formOf(card.picture, copy, model, styles, work.options), signal);
    const patient = () =>
      patiently(ask, signal, (seconds, attempt) =>
        card.show("working", `The service is busy: try ${attempt} in ${seconds} s`),
      );
    try {
      card.take(await patient(), model, styles, work.key);
    } catch (fault) {
      copy = TOO_LARGE.includes(fault.code) ? await shrunk(card.picture) : null;
      if (!copy) throw fault;
      card.show("working", `${asking}, from a smaller copy: the picture is more than the service takes`);
      card.take(await patient(), model, styles, work.key);
    }
  }
}

function formOf(picture, copy, model, styles, options) {
  const form = new FormData();
  form.set("image", copy ?? picture.file, picture.name);
  form.set("model", model);
  for (const style of styles) form.append("style", style);
  for (const [name, value] of Object.entries(options)) form.set(name, String(value));
  return form;
}
