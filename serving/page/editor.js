/** Changing a caption in its place. */

import { completing } from "./completing.js";
import { button, make } from "./dom.js";

let made = 0;

/**
 * A form with the text of a caption. `done(text)` is called once: with null if nothing is to change.
 *
 * `ask` is as in completing.js, or null where nothing can complete. `explain(fault)` says in words why it did not.
 */
export function editor(text, { ask, explain, done }) {
  made += 1;
  const hint = make(
    "p",
    { class: "foot", id: `editor-hint-${made}` },
    ask ? "Tab takes a completion, Enter saves, Esc leaves." : "Enter saves, Esc leaves.",
  );
  const field = make("textarea", {
    rows: 2,
    "aria-label": "Caption",
    "aria-describedby": hint.id,
    spellcheck: "true",
  });
  field.value = text;
  let close = () => {};
  const end = (result) => {
    close();
    done(result);
  };
  const save = () => {
    const written = field.value.replace(/\s+/g, " ").trim();
    if (written) end(written === text ? null : written);
    else hint.textContent = "A caption needs a word at least. Esc leaves it as it was.";
  };
  const form = make(
    "form",
    { class: "editor", onsubmit: (event) => (event.preventDefault(), save()) },
    make("div", { class: "completed" }, field),
    hint,
    make(
      "div",
      { class: "actions" },
      make("button", { type: "submit", class: "small primary" }, "Save"),
      button("Cancel", null, () => end(null)),
    ),
  );
  // Its listener comes first: keys that it takes are not meant for the form.
  if (ask) close = completing(field, ask, (fault) => (hint.textContent = `No completions: ${explain(fault)}`));
  field.addEventListener("keydown", (event) => {
    // While an input method composes a letter, Enter confirms that.
    if (event.defaultPrevented || event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      save();
    } else if (event.key === "Escape") end(null);
  });
  // Once it is on the page.
  queueMicrotask(() => {
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  });
  return form;
}
