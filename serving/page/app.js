/** Puts the page together: what is chosen, the pictures' cards, the two views. */

import { Fault, adviceFor, call, hasToken, setToken } from "./api.js";
import { announce, button, byId, colourStyles, icon, make, plural, remember, remembered } from "./dom.js";
import { KeptList } from "./kept.js";
import { KeptView } from "./kept_view.js";
import { Options } from "./options.js";
import { forCompletion, isPicture, readPicture } from "./pictures.js";
import { PictureCard } from "./results.js";
import { share } from "./share.js";
import { StylePicker } from "./style_picker.js";
import { followTheme, followViews, takeFiles } from "./surroundings.js";
import { Work, Writer, knows } from "./writing.js";

const MODEL_KEY = "stylecap.model";
const MOST_PICTURES = 200;
const cards = [];
let models = [];

const kept = new KeptList(() => refreshKept());
const keptView = new KeptView(kept);
const options = new Options(() => plan());
const picker = new StylePicker(() => plan());
const writer = new Writer(showProgress, onFault);
const refused = new Set();

const explain = (fault) => [fault.message, adviceFor(fault)].filter(Boolean).join(" ");
const page = {
  kept,
  explain,
  complete: (picture, style, model) => async (text, signal) => {
    const image = await forCompletion(picture);
    return (await call("autocomplete", { text, style, model, image }, signal)).result;
  },
  again: (card) => write([card]),
  cancel: (card) => writer.cancel(card),
  remove,
  share,
};

/** Redraws what shows whether a caption is kept, but no line that is being edited. */
function refreshKept() {
  keptView.draw();
  for (const card of cards) for (const line of card.lines()) if (!line.element.querySelector("form")) line.draw();
}

/** Asks the service what it has; false if it does not say, which the page then shows. */
async function connect() {
  byId("service-fault").hidden = true;
  try {
    const answer = await call("v1/models");
    models = answer.models;
    byId("token-panel").hidden = true;
    fillModels(answer.default);
    await offerStyles();
    return true;
  } catch (fault) {
    if (fault.code === "unauthorized") askForToken(hasToken() ? "That token was refused." : "");
    else showServiceFault(fault);
    return false;
  }
}

function showServiceFault(fault) {
  const words = make("p", {}, make("strong", {}, fault.message), ` ${adviceFor(fault)}`);
  byId("service-fault").replaceChildren(icon("alert"), words, button("Try again", null, connect));
  byId("service-fault").hidden = false;
}

function askForToken(words) {
  byId("token-panel").hidden = false;
  byId("token-fault").textContent = words;
  byId("token").focus();
}

function fillModels(first) {
  const last = remembered(MODEL_KEY, first);
  const chosen = models.some((model) => model.name === last) ? last : first;
  const named = () => models.map((model) => make("option", { value: model.name }, model.name));
  byId("model").replaceChildren(...named());
  byId("model").value = chosen;
  byId("other-model").replaceChildren(make("option", { value: "" }, "no other"), ...named());
  byId("model-fields").hidden = models.length < 2;
  byId("model-note").textContent = models.length === 1 ? `Model ${models[0].name}` : "";
}

const modelCalled = (name) => models.find((model) => model.name === name);

function chosenModels() {
  const names = new Set([byId("model").value, byId("other-model").value]);
  return [...names].map(modelCalled).filter(Boolean);
}

/** The styles of the chosen models; those that only the second one has come last. */
async function offerStyles() {
  const chosen = chosenModels();
  if (chosen.length === 0) throw new Fault("network", "The service has no model.");
  const answers = await Promise.all(chosen.map((model) => call(`v1/styles?model=${encodeURIComponent(model.name)}`)));
  const styles = new Map(answers.reverse().flatMap((answer) => answer.styles.map((style) => [style.name, style])));
  const order = [...new Set(chosen.flatMap((model) => model.styles))];
  colourStyles(order);
  options.offer(chosen[0].decoding);
  picker.offer(
    order.map((name) => styles.get(name) ?? { name, aliases: [] }),
    chosen[0].neutral,
  );
}

/** What pressing the button would do now. */
function work(read = options.read()) {
  const chosen = chosenModels();
  const styles = picker.chosen.length ? picker.chosen : chosen.slice(0, 1).map((model) => model.neutral);
  return new Work(chosen, styles, read);
}

const waitingFor = (asked) =>
  cards.filter((card) => !["waiting", "working"].includes(card.state) && asked.missing(card).length);

function arrange(card, asked) {
  card.arrange(
    asked.models.map((model) => model.name),
    asked.styles,
    (model, style) => knows(modelCalled(model), style),
  );
}

/** Says what the button would do, and shows on every card what is chosen now. */
function plan() {
  if (models.length === 0) return;
  const asked = work();
  for (const card of cards) if (!["waiting", "working"].includes(card.state)) arrange(card, asked);
  const count = waitingFor(asked).length;
  const styles = picker.chosen.length
    ? plural(asked.styles.length, "style")
    : `${asked.styles[0]}, as no style is chosen`;
  const words = `${plural(count, "picture")} in ${styles}`;
  byId("plan").textContent =
    cards.length === 0 ? "Add a picture first." : count ? words : writer.busy ? "" : "All of this is written.";
  byId("write").setAttribute("aria-disabled", String(count === 0));
  byId("steps").hidden = cards.length > 0;
  byId("drop").classList.toggle("slim", cards.length > 0);
}

function write(chosen = null) {
  const asked = work();
  const these = chosen ?? waitingFor(asked);
  for (const card of these) arrange(card, asked);
  for (const card of these) card.asked = asked.options;
  if (these.length) writer.add(these, asked);
  else announce(byId("plan").textContent);
  // On a phone the cards are below the button.
  if (these[0]?.element.getBoundingClientRect().top > innerHeight - 80) these[0].element.scrollIntoView();
}

function writeRefused() {
  const these = cards.filter((card) => refused.has(card));
  refused.clear();
  if (these.length) write(these);
  byId("write").focus();
}

function showProgress(running, done, total) {
  byId("running").hidden = !running;
  byId("progress").max = Math.max(total, 1);
  byId("progress").value = done;
  byId("progress-words").textContent = `${done} of ${total}`;
  plan();
}

/** A picture that lacked the token is written once there is one. */
function onFault(card, fault) {
  if (fault.code !== "unauthorized") return;
  refused.add(card);
  askForToken(hasToken() ? "That token was refused." : "");
}

async function addFiles(files, pasted = false) {
  const left = [];
  for (const file of files) {
    if (!isPicture(file)) left.push(`${file.name || "What was dropped"} is no picture`);
    else if (cards.length >= MOST_PICTURES) left.push(`${file.name}: ${MOST_PICTURES} pictures are the most at once`);
    else await addPicture(file, pasted).catch(() => left.push(`${file.name} cannot be read`));
  }
  byId("left-out").hidden = left.length === 0;
  byId("left-out").replaceChildren(
    icon("alert"),
    make(
      "p",
      {},
      make("strong", {}, "Left out: "),
      `${left.slice(0, 5).join("; ")}${left.length > 5 ? `; and ${left.length - 5} more` : ""}.`,
    ),
  );
  plan();
}

async function addPicture(file, pasted) {
  const picture = await readPicture(file, pasted);
  const there = cards.find(
    (card) => card.picture.fingerprint === picture.fingerprint && card.picture.name === picture.name,
  );
  if (there) {
    URL.revokeObjectURL(picture.url);
    there.say("is here already");
    return;
  }
  const card = new PictureCard(picture, page);
  cards.push(card);
  byId("results").append(card.element);
  announce(`${picture.name} added, ${plural(cards.length, "picture")}`);
}

function remove(card) {
  writer.cancel(card);
  const place = cards.indexOf(card);
  cards.splice(place, 1);
  card.element.remove();
  URL.revokeObjectURL(card.picture.url);
  plan();
  announce(`${card.picture.name} removed`);
  (cards[Math.min(place, cards.length - 1)]?.actions.querySelector("button") ?? byId("files")).focus();
}

byId("settings").addEventListener("submit", (event) => {
  event.preventDefault();
  write();
});
byId("stop").addEventListener("click", () => {
  writer.cancelAll();
  byId("write").focus();
});
byId("token-panel").addEventListener("submit", async (event) => {
  event.preventDefault();
  setToken(byId("token").value.trim());
  byId("token").value = "";
  if (await connect()) writeRefused();
});
for (const name of ["model", "other-model"]) {
  byId(name).addEventListener("change", () => {
    remember(MODEL_KEY, byId("model").value);
    offerStyles().catch(showServiceFault);
  });
}
takeFiles(addFiles);
followTheme();
followViews();
keptView.draw();
connect();
