// What sequences mean: from the parser to the screen. `answer(text)` sends what a program asked the terminal.
import { rendition } from "./pen.js";

const MODES = { "": { 4: "insert", 20: "newline" }, "?": { 1: "arrows", 6: "origin", 7: "wrap", 25: "shown", 2004: "bracketed" } };
const [BS, HT, LF, VT, FF, CR, SO, SI] = [0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f];

export class Commands {
  constructor(screen, { answer = () => {}, title = () => {} } = {}) {
    Object.assign(this, { screen, answer, title });
  }

  print(char) {
    this.screen.print(char);
  }

  control(code) {
    const { screen } = this;
    if (code === BS) screen.moveBy(0, -1);
    else if (code === HT) screen.tab(1);
    else if (code === LF || code === VT || code === FF) {
      screen.index();
      screen.cursor.wraps = false;
      if (screen.modes.newline) screen.cursor.column = 0;
    } else if (code === CR) screen.moveBy(0, -screen.columns);
    else if (code === SO || code === SI) screen.charset = code === SO ? 1 : 0;
  }

  osc(number, text) {
    if (number === 0 || number === 2) this.title(text);
  }

  escape(between, final) {
    const { screen } = this;
    if (between === "(" || between === ")") screen.drawing[between === "(" ? 0 : 1] = final === "0";
    else if (between === "#" && final === "8") for (const line of screen.lines) this.align(line);
    else if (between === "") PLAIN_ESCAPES[final]?.(screen);
  }

  align(line) {
    line.fill(0, line.cells.length, this.screen.pen);
    for (const cell of line.cells) cell.text = "E";
  }

  csi(prefix, params, between, final) {
    const given = (at, otherwise) => params[at]?.[0] || otherwise;
    if (between === "!" && final === "p") this.soften();
    else if (between !== "") return;
    else if (final === "h" || final === "l") for (const [mode] of params) this.mode(prefix, mode, final === "h");
    else if (final === "m" && prefix === "") this.screen.pen = rendition(this.screen.pen, params);
    else if (final === "n" && prefix === "") this.report(given(0, 0));
    else if (final === "c") this.identify(prefix, given(0, 0));
    else if (prefix === "" || (prefix === "?" && "JK".includes(final))) SEQUENCES[final]?.(this.screen, given, params);
  }

  mode(prefix, mode, on) {
    const { screen } = this;
    const name = MODES[prefix]?.[mode];
    if (name) {
      screen.modes[name] = on;
      if (name === "origin") screen.moveTo(0, 0);
    } else if (prefix === "?") this.buffer(mode, on);
  }

  // 1049 keeps the cursor and clears the other screen, 47 and 1047 only change it, 1048 only keeps the cursor.
  buffer(mode, on) {
    const { screen } = this;
    const keeps = mode === 1048 || mode === 1049;
    if (keeps && on) screen.save();
    if (mode === 47 || mode === 1047 || mode === 1049) screen.alternate(on);
    if (keeps && !on) screen.restore();
  }

  soften() {
    const { screen } = this;
    Object.assign(screen.modes, { insert: false, origin: false, arrows: false, shown: true, wrap: true });
    screen.pen = rendition(screen.pen, []);
    screen.margins();
  }

  report(what) {
    const { cursor, modes, top } = this.screen;
    if (what === 5) this.answer("\x1b[0n");
    if (what === 6) this.answer(`\x1b[${cursor.row + 1 - (modes.origin ? top : 0)};${cursor.column + 1}R`);
  }

  identify(prefix, what) {
    if (what !== 0) return;
    if (prefix === "") this.answer("\x1b[?1;2c");
    if (prefix === ">") this.answer("\x1b[>0;0;0c");
  }
}

const PLAIN_ESCAPES = {
  7: (screen) => screen.save(),
  8: (screen) => screen.restore(),
  D: (screen) => screen.index(),
  M: (screen) => screen.reverseIndex(),
  E: (screen) => { screen.index(); screen.cursor.column = 0; },
  H: (screen) => screen.tabs.add(screen.cursor.column),
  c: (screen) => screen.reset(),
};

const SEQUENCES = {
  "@": (screen, given) => screen.line.insert(screen.cursor.column, given(0, 1), screen.pen),
  A: (screen, given) => screen.moveBy(-given(0, 1), 0),
  B: (screen, given) => screen.moveBy(given(0, 1), 0),
  C: (screen, given) => screen.moveBy(0, given(0, 1)),
  D: (screen, given) => screen.moveBy(0, -given(0, 1)),
  E: (screen, given) => screen.moveBy(given(0, 1), -screen.columns),
  F: (screen, given) => screen.moveBy(-given(0, 1), -screen.columns),
  G: (screen, given) => screen.moveBy(0, given(0, 1) - 1 - screen.cursor.column),
  H: (screen, given) => screen.moveTo(given(0, 1) - 1, given(1, 1) - 1),
  I: (screen, given) => screen.tab(given(0, 1)),
  J: (screen, given) => screen.erase(given(0, 0)),
  K: (screen, given) => screen.eraseLine(given(0, 0)),
  L: (screen, given) => screen.shiftLines(-given(0, 1)),
  M: (screen, given) => screen.shiftLines(given(0, 1)),
  P: (screen, given) => screen.line.remove(screen.cursor.column, given(0, 1), screen.pen),
  S: (screen, given) => screen.scroll(given(0, 1)),
  T: (screen, given) => screen.scroll(-given(0, 1)),
  X: (screen, given) => screen.line.fill(screen.cursor.column, screen.cursor.column + given(0, 1), screen.pen),
  Z: (screen, given) => screen.tab(-given(0, 1)),
  a: (screen, given) => screen.moveBy(0, given(0, 1)),
  b: (screen, given) => { for (let left = Math.min(given(0, 1), 9999); left > 0 && screen.last; left -= 1) screen.print(screen.last); },
  d: (screen, given) => screen.moveTo(given(0, 1) - 1, screen.cursor.column),
  e: (screen, given) => screen.moveBy(given(0, 1), 0),
  g: (screen, given) => { if (given(0, 0) === 3) screen.tabs.clear(); else screen.tabs.delete(screen.cursor.column); },
  r: (screen, given) => region(screen, given(0, 1) - 1, Math.min(given(1, screen.rows), screen.rows) - 1),
  s: (screen) => screen.save(),
  u: (screen) => screen.restore(),
};
SEQUENCES.f = SEQUENCES.H;
SEQUENCES["`"] = SEQUENCES.G;

function region(screen, top, bottom) {
  if (top >= bottom) return;
  screen.margins(top, bottom);
  screen.moveTo(0, 0);
}
