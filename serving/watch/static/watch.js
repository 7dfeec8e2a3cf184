// Keeps a page as its run stands: asks now and then what has changed, and fetches that alone.
"use strict";

const INTERVAL = 2000;
const main = document.querySelector("main");
const key = main.dataset.key;
const connection = document.getElementById("connection");
let tag = null;
let waiting = null;

function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes >= 10 && minutes < 60) return `${minutes} min`;
  if (minutes < 60) return `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

// Times that pass while nothing changes.
function tick() {
  const now = Date.now() / 1000;
  for (const at of document.querySelectorAll("[data-ago]")) at.textContent = `${span(now - at.dataset.ago)} ago`;
  for (const at of document.querySelectorAll("[data-until]")) {
    at.textContent = at.dataset.until > now ? span(at.dataset.until - now) : "about done";
  }
  for (const at of document.querySelectorAll("[data-clock]")) {
    const when = new Date(at.dateTime);
    const day = when.toDateString() === new Date().toDateString() ? {} : { weekday: "short" };
    at.textContent = when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", ...day });
  }
}

// New content, with what the reader has unfolded and scrolled to.
function replace(part, html) {
  const before = new Map([...part.querySelectorAll("[data-keep]")].map((item) => [item.dataset.keep, item]));
  const focused = part.contains(document.activeElement) ? document.activeElement.closest("[data-keep]") : null;
  part.innerHTML = html;
  for (const item of part.querySelectorAll("[data-keep]")) {
    const old = before.get(item.dataset.keep);
    if (!old) continue;
    if (old.open) item.open = true;
    item.scrollTop = old.scrollTop;
    item.scrollLeft = old.scrollLeft;
    if (focused === old) (item.querySelector("summary") || item).focus({ preventScroll: true });
  }
}

async function refresh(name, version) {
  const part = main.querySelector(`[data-part="${name}"]`);
  if (part.dataset.version === version) return;
  const answer = await fetch(`/part/${name}/${key}`);
  if (!answer.ok) throw new Error(`part ${name}: ${answer.status}`);
  replace(part, await answer.text());
  part.dataset.version = version;
}

async function look() {
  const answer = await fetch(`/live/${key}`, { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
  if (answer.status === 304) return;
  if (!answer.ok) throw new Error(`live: ${answer.status}`);
  const found = await answer.json();
  for (const [name, version] of Object.entries(found.parts)) await refresh(name, version);
  tag = answer.headers.get("ETag");
  document.title = `${found.title} · ${found.state} · StyleCap`;
  if (found.state !== main.dataset.state) tell(`Now: ${found.state}`, true);
  main.dataset.state = found.state;
}

function tell(text, brief) {
  connection.textContent = text;
  connection.hidden = text === "";
  connection.classList.toggle("brief", Boolean(brief));
}

async function poll() {
  clearTimeout(waiting);
  waiting = null;
  if (document.hidden) return; // begins again when it is seen
  try {
    await look();
    if (connection.textContent.startsWith("The server")) tell("");
  } catch {
    tell("The server does not answer; this is what was known last. Trying again.");
  }
  tick();
  waiting = setTimeout(poll, INTERVAL);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && waiting === null) poll();
});
// A picture that is gone leaves its place empty.
document.addEventListener("error", (event) => { if (event.target.tagName === "IMG") event.target.remove(); }, true);
setInterval(() => { if (!document.hidden) tick(); }, 1000);
tick();
poll();
