// The page of a terminal: screen, keys and link put together.
import { Commands } from "./commands.js";
import { pasted, sequence } from "./keys.js";
import { Link } from "./link.js";
import { Painter, selected } from "./paint.js";
import { Parser } from "./parser.js";
import { Screen } from "./screen.js";

const SETTLED = 80;
const WHEEL_ROWS = 3;

const place = document.getElementById("terminal");
const state = document.getElementById("terminal-state");
const title = document.getElementById("terminal-title");
const called = title.textContent;
const screen = new Screen(24, 80);
const painter = new Painter(place, screen);
const keyboard = keys();
let answers = false;
let over = false;

const link = new Link(
  { ...place.dataset, token: document.querySelector("[name=csrfmiddlewaretoken]").value },
  { output: show, state: say, ended },
);
const parser = new Parser(new Commands(screen, {
  // What was asked before this page was loaded was answered then.
  answer: (text) => { if (answers) link.type(text); },
  title: (text) => { title.textContent = text ? `${called} · ${text.slice(0, 80)}` : called; },
}));

function keys() {
  const made = document.createElement("textarea");
  made.className = "term__keys";
  made.setAttribute("aria-label", "Terminal: what you type here goes to the shell");
  for (const [name, value] of [["autocapitalize", "off"], ["autocomplete", "off"], ["autocorrect", "off"], ["spellcheck", "false"], ["rows", "1"]]) made.setAttribute(name, value);
  place.before(made);
  return made;
}

function show(text, entry) {
  answers = newer(entry, place.dataset.until);
  parser.feed(text);
  painter.later();
}

function newer(entry, other) {
  const [a, b] = entry.split("-").map(Number);
  const [c, d] = other.split("-").map(Number);
  return a > c || (a === c && b > d);
}

function say(name, words) {
  if (over) return;
  state.dataset.state = name;
  if (state.textContent !== words) state.textContent = words;
}

function ended(told) {
  say("ended", `Ended: ${told.words}${told.detail ? ` (${told.detail})` : ""}`);
  over = true;
  screen.modes.shown = false;
  keyboard.disabled = true;
  document.getElementById(place.dataset.leave).hidden = true;
  painter.later();
}

function fit() {
  const [rows, columns] = painter.measure();
  if (rows === screen.rows && columns === screen.columns && fit.told) return;
  fit.told = true;
  screen.resize(rows, columns);
  painter.later();
  link.resize(rows, columns);
}

function copies(event) {
  return event.ctrlKey && !event.altKey && event.key.toLowerCase() === "c" && selected(place) !== "";
}

function press(event) {
  if (over || event.isComposing || event.key === "Process") return;
  if (copies(event)) return event.shiftKey ? copy(event) : undefined;
  if (event.shiftKey && event.key === "F6") {
    event.preventDefault();
    return document.getElementById(place.dataset.leave).focus();
  }
  const text = sequence(event, screen.modes);
  if (!["Shift", "Control", "Alt", "Meta"].includes(event.key) && !event.metaKey) keyboard.focus({ preventScroll: true });
  if (text === null) return undefined;
  event.preventDefault();
  type(text);
  return undefined;
}

// The browser has something else in mind for this key.
function copy(event) {
  event.preventDefault();
  document.execCommand("copy");
}

function type(text) {
  place.scrollTop = place.scrollHeight;
  link.type(text);
}

function read() {
  type(keyboard.value.replaceAll("\n", "\r"));
  keyboard.value = "";
}

place.tabIndex = -1;
for (const element of [place, keyboard]) {
  element.addEventListener("keydown", press);
  element.addEventListener("paste", (event) => {
    event.preventDefault();
    if (!over) type(pasted(event.clipboardData.getData("text"), screen.modes));
  });
}
keyboard.addEventListener("input", (event) => { if (!event.isComposing) read(); });
keyboard.addEventListener("compositionend", read);
keyboard.addEventListener("focus", () => place.setAttribute("data-focus", ""));
keyboard.addEventListener("blur", () => place.removeAttribute("data-focus"));
document.addEventListener("copy", (event) => {
  const text = selected(place);
  if (!text) return;
  event.preventDefault();
  event.clipboardData.setData("text/plain", text);
  setTimeout(() => { getSelection().removeAllRanges(); keyboard.focus({ preventScroll: true }); });
});
place.addEventListener("mouseup", () => { if (!selected(place)) keyboard.focus({ preventScroll: true }); });
place.addEventListener("wheel", (event) => {
  if (screen.main === null || over) return;
  event.preventDefault();
  const key = { key: event.deltaY < 0 ? "ArrowUp" : "ArrowDown" };
  link.type(sequence(key, screen.modes).repeat(WHEEL_ROWS));
}, { passive: false });

let settling = 0;
new ResizeObserver(() => {
  clearTimeout(settling);
  settling = setTimeout(fit, SETTLED);
}).observe(place);
document.fonts.ready.then(fit);
fit();
link.open();
keyboard.focus({ preventScroll: true });
