/** How captions are written: the fields behind "Options", and what they ask of the service. */

import { byId } from "./dom.js";

const SAMPLED_ONLY = ["temperature", "seed"];
const MOST_SEED = 2 ** 31;

export class Options {
  constructor(onChange) {
    this.form = byId("settings");
    this.form.addEventListener("input", () => {
      this.adapt();
      onChange();
    });
    this.adapt();
  }

  /** Shows what a model writes with where a field is empty. */
  offer(decoding) {
    const fields = {
      num_beams: decoding.num_beams,
      guidance: decoding.guidance ?? 1,
      max_length: decoding.max_length,
    };
    for (const [name, value] of Object.entries(fields)) this.form.elements[name].placeholder = value ?? "";
    this.defaultBeams = decoding.num_beams ?? 1;
    this.adapt();
  }

  get sampled() {
    return this.form.elements.sampling.value === "multinomial";
  }

  /** Fields that mean nothing for the chosen way of writing are hidden; more captions than beams are refused. */
  adapt() {
    const { num, num_beams: beams } = this.form.elements;
    for (const field of this.form.querySelectorAll(".by-beams")) field.hidden = this.sampled;
    for (const field of this.form.querySelectorAll(".by-chance")) field.hidden = !this.sampled;
    const width = Number(beams.value || this.defaultBeams || 1);
    const tooMany = !this.sampled && Number(num.value || 1) > width;
    num.setCustomValidity(
      tooMany ? `${width} beams give at most ${width} captions: ask for fewer, or for more beams.` : "",
    );
  }

  /**
   * What is asked of the service, without what is left to the model.
   *
   * Sampling without a seed draws one, so that pressing the button again brings other captions and the saved JSON
   * still says how these came about.
   */
  read() {
    const { elements } = this.form;
    const asked = {};
    const left = this.sampled ? ["num_beams"] : SAMPLED_ONLY;
    for (const name of ["num", "num_beams", "temperature", "seed", "guidance", "max_length"]) {
      if (elements[name].value !== "" && !left.includes(name)) asked[name] = Number(elements[name].value);
    }
    if (this.sampled) {
      asked.sampling = "multinomial";
      asked.seed ??= Math.floor(Math.random() * MOST_SEED);
    }
    const prefix = elements.prefix.value.trim();
    return prefix ? { ...asked, prefix } : asked;
  }
}
