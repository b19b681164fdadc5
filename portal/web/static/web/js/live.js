// Says whether the page is fed by the event stream or by polling, keeps a log that is read at its end at its end,
// and locks a form's button once it was pressed.
const state = (name, text) => {
  for (const sign of document.querySelectorAll("[data-live]")) {
    sign.dataset.state = name;
    sign.textContent = text;
    sign.hidden = false;
  }
};

document.addEventListener("htmx:sseOpen", () => state("open", "Live"));
document.addEventListener("htmx:sseError", () => state("polling", "Refreshing by itself"));

let pinned = new Map();
const atEnd = (log) => log.scrollHeight - log.scrollTop - log.clientHeight < 24;
const toEnd = (log) => { log.scrollTop = log.scrollHeight; };

for (const log of document.querySelectorAll("[data-follow]")) toEnd(log);
document.addEventListener("htmx:beforeSwap", () => {
  pinned = new Map([...document.querySelectorAll("[data-follow]")].map((log) => [log.id, atEnd(log) ? null : log.scrollTop]));
});
document.addEventListener("htmx:afterSwap", () => {
  for (const log of document.querySelectorAll("[data-follow]")) {
    const top = pinned.get(log.id);
    if (top === null || top === undefined) toEnd(log);
    else log.scrollTop = top;
  }
});

// A panel in which somebody has opened a box waits with its next version until that is closed.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target.id === "panel" && event.target.querySelector(".confirm[open]")) event.preventDefault();
});

document.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (!button || event.target.method === "get") return;
  // After the form's own values were collected: a disabled button would not be sent.
  setTimeout(() => { button.setAttribute("aria-busy", "true"); button.disabled = true; }, 0);
});
window.addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const button of document.querySelectorAll("button[aria-busy]")) { button.removeAttribute("aria-busy"); button.disabled = false; }
});
