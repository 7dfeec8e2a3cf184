// Not a module: it has to have run before anything is drawn, or a dark page would flash white.
try {
  const chosen = localStorage.getItem("stylecap.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be forbidden: then the system's choice stays.
}
