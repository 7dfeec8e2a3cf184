/** What surrounds the work: files that come in, light or dark, and which of the two views is shown. */

import { byId } from "./dom.js";

/** Calls `add(files, pasted)` for files that are chosen, dropped anywhere on the page, or pasted. */
export function takeFiles(add) {
  const field = byId("files");
  const drop = byId("drop");
  field.addEventListener("change", async () => {
    await add([...field.files]);
    // So that the same file can be chosen again.
    field.value = "";
  });
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    drop.classList.add("over");
  });
  addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) drop.classList.remove("over");
  });
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    drop.classList.remove("over");
    location.hash = "captions";
    add([...event.dataTransfer.files]);
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) add([...event.clipboardData.files], true);
  });
}

/** The button for light and dark. Until it is pressed, the page is as the system is. */
export function followTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const name = () => {
    const words = isDark() ? "Use light colours" : "Use dark colours";
    byId("theme").setAttribute("aria-label", words);
    byId("theme").title = words;
  };
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    name();
    try {
      localStorage.setItem("stylecap.theme", root.dataset.theme);
    } catch {
      // Without storage the choice lasts until the page is closed.
    }
  });
  dark.addEventListener("change", name);
  name();
}

/** Shows the view that the address names, and moves the focus to its heading. */
export function followViews() {
  const show = (moved) => {
    // The link that skips the header stays in its view.
    if (moved && location.hash === "#content") return;
    const view = location.hash === "#kept" ? "kept" : "captions";
    for (const name of ["captions", "kept"]) {
      byId(`${name}-view`).hidden = name !== view;
      if (name === view) byId(`to-${name}`).setAttribute("aria-current", "page");
      else byId(`to-${name}`).removeAttribute("aria-current");
    }
    document.title = view === "kept" ? "Kept captions · StyleCap" : "StyleCap";
    if (moved) byId(`${view}-heading`).focus();
  };
  addEventListener("hashchange", () => show(true));
  show(false);
}
