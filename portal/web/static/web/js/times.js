// Times in the reader's own zone and words: the server sends UTC, which stays readable without JavaScript.
const absolute = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const short = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const relative = new Intl.RelativeTimeFormat(document.documentElement.lang || undefined, { numeric: "auto" });
const units = [["year", 31536000], ["month", 2592000], ["week", 604800], ["day", 86400], ["hour", 3600], ["minute", 60]];

function words(date) {
  const seconds = (date.getTime() - Date.now()) / 1000;
  for (const [unit, size] of units) {
    if (Math.abs(seconds) >= size) return relative.format(Math.trunc(seconds / size), unit);
  }
  return seconds > 5 ? "in under a minute" : "just now";
}

function span(date) {
  const seconds = Math.max(0, (Date.now() - date.getTime()) / 1000);
  const [unit, size] = units.find(([, length]) => seconds >= length) || ["second", 1];
  return new Intl.NumberFormat(undefined, { style: "unit", unit, unitDisplay: "long" }).format(Math.trunc(seconds / size));
}

const styles = { span, relative: words, absolute: (date) => short.format(date), clock: (date) => clock.format(date) };

function show(time) {
  const date = new Date(time.dateTime);
  if (Number.isNaN(date.getTime())) return;
  const text = (styles[time.dataset.time] || styles.absolute)(date);
  if (time.textContent !== text) time.textContent = text;
  const title = absolute.format(date);
  if (time.title !== title) time.title = title;
}

function showAll(root = document) {
  for (const time of root.querySelectorAll("time[data-time]")) show(time);
}

showAll();
setInterval(showAll, 15000);
document.addEventListener("htmx:afterSwap", () => showAll());
