// Puts the lines of a screen on the page: a row of text each, which can be selected, with those that left it above.
const MOST_ROWS = 2000;

export class Painter {
  constructor(place, screen) {
    Object.assign(this, { place, screen });
    this.drawn = new WeakMap();
    this.past = 0;
    this.waiting = false;
    this.cursor = "";
    this.cell = { width: 8, height: 16 };
  }

  // Soon: several changes in one picture.
  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.paint();
    });
  }

  // How many rows and columns fit.
  measure() {
    const probe = document.createElement("span");
    probe.className = "term__probe";
    probe.textContent = "0".repeat(50);
    this.place.append(probe);
    const box = probe.getBoundingClientRect();
    probe.remove();
    this.cell = { width: box.width / 50 || 8, height: box.height || 16 };
    const style = getComputedStyle(this.place);
    const width = this.place.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const height = this.place.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
    const within = (value, least, most) => Math.max(least, Math.min(most, Math.floor(value)));
    return [within(height / this.cell.height, 2, 500), within(width / this.cell.width, 8, 1000)];
  }

  paint() {
    const { place, screen } = this;
    const follows = place.scrollHeight - place.scrollTop - place.clientHeight < this.cell.height * 1.5;
    place.toggleAttribute("data-alternate", screen.main !== null);
    if (screen.forgotten) this.forget();
    for (const line of screen.left.splice(0).slice(-MOST_ROWS)) this.leave(line);
    screen.lines.forEach((line, row) => this.settle(this.row(line, row), this.past + row));
    while (place.children.length > this.past + screen.rows) place.lastChild.remove();
    for (; this.past > MOST_ROWS; this.past -= 1) place.firstChild.remove();
    if (follows) place.scrollTop = place.scrollHeight;
  }

  forget() {
    for (; this.past > 0; this.past -= 1) this.place.firstChild.remove();
    this.screen.forgotten = false;
  }

  // A row that was on the screen stays where it is, and with it what is selected in it.
  leave(line) {
    const row = this.row(line, -1);
    row.classList.add("term__row--past");
    this.settle(row, this.past);
    this.past += 1;
  }

  settle(row, at) {
    const there = this.place.children[at] || null;
    if (there !== row) this.place.insertBefore(row, there);
  }

  row(line, number) {
    const { cursor, modes } = this.screen;
    const at = number === cursor.row && modes.shown ? cursor.column : -1;
    const key = `${line.version} ${at} ${line.wrapped}`;
    let known = this.drawn.get(line);
    if (!known) {
      known = { element: document.createElement("div"), key: "" };
      known.element.className = "term__row";
      this.drawn.set(line, known);
    }
    if (known.key !== key) {
      known.element.replaceChildren(...spans(line.cells, at));
      known.element.toggleAttribute("data-wrapped", line.wrapped);
      known.key = key;
    }
    return known.element;
  }
}

const empty = (cell) => cell.text === " " && cell.pen.back === null && !cell.pen.traits.size;

function spans(cells, cursor) {
  let end = cells.length;
  while (end > 0 && end - 1 !== cursor && empty(cells[end - 1])) end -= 1;
  const made = [];
  let text = "";
  for (let at = 0; at < end; at += 1) {
    const { pen, width } = cells[at];
    const alone = width === 2 || at === cursor;
    const next = cells[at + 1];
    text += cells[at].text;
    if (!alone && at + 1 < end && next.pen === pen && next.width === 1 && at + 1 !== cursor) continue;
    if (text !== "") made.push(span(text, pen, width === 2, at === cursor));
    text = "";
  }
  return made.length ? made : [document.createTextNode("\u200b")];
}

function span(text, pen, wide, cursor) {
  const made = document.createElement("span");
  made.textContent = text;
  const inverse = pen.traits.has("inverse");
  const classes = [...pen.traits].map((name) => `term--${name}`);
  colour(made, classes, inverse ? pen.back : pen.front, "front", inverse);
  colour(made, classes, inverse ? pen.front : pen.back, "back", inverse);
  if (wide) classes.push("term--wide");
  if (cursor) classes.push("term--cursor");
  if (classes.length) made.className = classes.join(" ");
  return made;
}

const CUBE = [0, 95, 135, 175, 215, 255];

function colour(element, classes, value, side, inverse) {
  if (value === null) {
    if (inverse) classes.push(`term--${side}-other`);
  } else if (typeof value === "number" && value < 16) classes.push(`term--${side}-${value}`);
  else element.style[side === "front" ? "color" : "backgroundColor"] = typeof value === "string" ? value : indexed(value);
}

function indexed(value) {
  if (value >= 232) return `rgb(${Array(3).fill(8 + 10 * (value - 232)).join(" ")})`;
  const at = value - 16;
  return `rgb(${CUBE[Math.floor(at / 36)]} ${CUBE[Math.floor(at / 6) % 6]} ${CUBE[at % 6]})`;
}

// What is selected, with a line of the terminal on a line, although it took several rows.
export function selected(place) {
  const selection = getSelection();
  if (!selection.rangeCount || selection.isCollapsed || !place.contains(selection.anchorNode)) return "";
  const rows = [...selection.getRangeAt(0).cloneContents().querySelectorAll(".term__row")];
  if (!rows.length) return selection.toString().replaceAll("\u200b", "");
  const texts = rows.map((row) => row.textContent.replaceAll("\u200b", ""));
  return texts.map((text, at) => (rows[at].hasAttribute("data-wrapped") ? text : `${text.trimEnd()}\n`)).join("").replace(/\n$/, "");
}
