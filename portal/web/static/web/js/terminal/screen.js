// The cells of a terminal and its cursor, as programs that take it for an xterm change them. Rows and columns from 0.
import { PLAIN, ground } from "./pen.js";
import { width } from "./width.js";

const blank = (pen) => ({ text: " ", pen: ground(pen), width: 1 });
const LONGEST_CELL = 24;
const LINES = "◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·";
// Lines that left the screen and nobody has fetched yet.
const MOST_LEFT = 2000;

class Line {
  constructor(columns, pen = PLAIN) {
    this.cells = Array.from({ length: columns }, () => blank(pen));
    this.wrapped = false;
    this.version = 0;
  }

  // Half of a wide character is none.
  cut(at, pen) {
    if (at > 0 && at < this.cells.length && this.cells[at].width === 0) {
      this.cells[at - 1] = blank(pen);
      this.cells[at] = blank(pen);
    }
  }

  fill(from, to, pen) {
    this.cut(from, pen);
    this.cut(to, pen);
    for (let at = Math.max(0, from); at < Math.min(to, this.cells.length); at += 1) this.cells[at] = blank(pen);
    this.version += 1;
  }

  insert(at, count, pen) {
    this.cut(at, pen);
    const columns = this.cells.length;
    this.cells.splice(at, 0, ...Array.from({ length: Math.min(count, columns - at) }, () => blank(pen)));
    this.cut(columns, pen);
    this.cells.length = columns;
    if (this.cells[columns - 1].width === 2) this.cells[columns - 1] = blank(pen);
    this.version += 1;
  }

  remove(at, count, pen) {
    const gone = Math.min(count, this.cells.length - at);
    this.cut(at, pen);
    this.cut(at + gone, pen);
    this.cells.splice(at, gone);
    while (gone > 0 && this.cells.length < at + gone) this.cells.push(blank(pen));
    this.version += 1;
  }

  resize(columns) {
    this.cut(columns, PLAIN);
    this.cells.length = Math.min(this.cells.length, columns);
    while (this.cells.length < columns) this.cells.push(blank(PLAIN));
    this.version += 1;
  }

  get text() {
    return this.cells.map((cell) => cell.text).join("").trimEnd();
  }
}

export class Screen {
  constructor(rows, columns) {
    [this.rows, this.columns] = [rows, columns];
    this.left = [];
    this.forgotten = false;
    this.reset();
  }

  reset() {
    this.lines = this.fresh(PLAIN);
    this.main = null;
    this.cursor = { row: 0, column: 0, wraps: false };
    this.pen = PLAIN;
    this.modes = { wrap: true, insert: false, origin: false, newline: false, arrows: false, shown: true, bracketed: false };
    this.drawing = [false, false];
    this.charset = 0;
    this.saved = null;
    this.last = "";
    this.tabs = new Set(Array.from({ length: 200 }, (_, at) => at * 8));
    this.margins();
  }

  fresh(pen) {
    return Array.from({ length: this.rows }, () => new Line(this.columns, pen));
  }

  get line() {
    return this.lines[this.cursor.row];
  }

  margins(top = 0, bottom = this.rows - 1) {
    [this.top, this.bottom] = [top, bottom];
  }

  print(char) {
    const drawn = this.drawing[this.charset] && /^[`-~]$/.test(char) ? LINES[char.charCodeAt(0) - 96] : char;
    const cells = width(drawn);
    if (cells === 0) return this.join(drawn);
    const { cursor, modes } = this;
    const full = cursor.wraps || cursor.column + cells > this.columns;
    if (full && modes.wrap) {
      this.line.wrapped = true;
      cursor.column = 0;
      this.index();
    } else if (full) cursor.column = this.columns - cells;
    cursor.wraps = false;
    this.last = drawn;
    this.put(drawn, cells);
  }

  put(char, cells) {
    const { cursor, line, pen } = this;
    if (this.modes.insert) line.insert(cursor.column, cells, pen);
    line.cut(cursor.column, pen);
    line.cut(cursor.column + cells, pen);
    line.cells[cursor.column] = { text: char, pen, width: cells };
    if (cells === 2) line.cells[cursor.column + 1] = { text: "", pen, width: 0 };
    line.version += 1;
    cursor.column += cells;
    cursor.wraps = cursor.column >= this.columns;
    cursor.column = Math.min(cursor.column, this.columns - 1);
  }

  join(char) {
    const before = this.cursor.wraps ? this.cursor.column : this.cursor.column - 1;
    const cells = this.line.cells;
    const at = before > 0 && cells[before].width === 0 ? before - 1 : before;
    if (at < 0 || cells[at].text.length >= LONGEST_CELL) return;
    cells[at] = { ...cells[at], text: cells[at].text + char };
    this.line.version += 1;
  }

  moveTo(row, column) {
    const [first, last] = this.modes.origin ? [this.top, this.bottom] : [0, this.rows - 1];
    this.cursor.row = Math.max(first, Math.min(last, first + row));
    this.cursor.column = Math.max(0, Math.min(this.columns - 1, column));
    this.cursor.wraps = false;
  }

  // Up and down stop at the margins when they begin within them.
  moveBy(rows, columns) {
    const { cursor } = this;
    const first = cursor.row >= this.top ? this.top : 0;
    const last = cursor.row <= this.bottom ? this.bottom : this.rows - 1;
    cursor.row = Math.max(first, Math.min(last, cursor.row + rows));
    cursor.column = Math.max(0, Math.min(this.columns - 1, cursor.column + columns));
    cursor.wraps = false;
  }

  index() {
    if (this.cursor.row === this.bottom) this.scroll(1);
    else if (this.cursor.row < this.rows - 1) this.cursor.row += 1;
  }

  reverseIndex() {
    if (this.cursor.row === this.top) this.scroll(-1);
    else if (this.cursor.row > 0) this.cursor.row -= 1;
  }

  // What is between `from` and the lower margin moves up, or down by a negative number.
  scroll(count, from = this.top) {
    const most = Math.min(Math.abs(count), this.bottom - from + 1);
    for (let done = 0; done < most; done += 1) {
      const [gone] = this.lines.splice(count > 0 ? from : this.bottom, 1);
      this.lines.splice(count > 0 ? this.bottom : from, 0, new Line(this.columns, this.pen));
      if (count > 0 && from === 0 && this.main === null) this.leave(gone);
    }
  }

  leave(line) {
    this.left.push(line);
    if (this.left.length > 2 * MOST_LEFT) this.left.splice(0, MOST_LEFT);
  }

  shiftLines(count) {
    const { row } = this.cursor;
    if (row < this.top || row > this.bottom) return;
    const counted = this.main;
    // A line that is deleted at the top did not leave by itself.
    this.main ??= [];
    this.scroll(count, row);
    this.main = counted;
    this.cursor.column = 0;
    this.cursor.wraps = false;
  }

  eraseLine(how) {
    const { column } = this.cursor;
    const [from, to] = [[column, this.columns], [0, column + 1], [0, this.columns]][how] || [0, 0];
    this.line.fill(from, to, this.pen);
    if (how !== 1) this.line.wrapped = false;
    this.cursor.wraps = false;
  }

  erase(how) {
    if (how === 3) {
      this.forgotten = true;
      this.left = [];
      return;
    }
    const { row } = this.cursor;
    const [from, to] = [[row + 1, this.rows], [0, row], [0, this.rows]][how] || [0, 0];
    for (let at = from; at < to; at += 1) this.lines[at].fill(0, this.columns, this.pen);
    if (how < 2) this.eraseLine(how);
  }

  tab(count) {
    const stops = [...this.tabs].sort((a, b) => a - b);
    const { cursor } = this;
    for (let done = 0; done < Math.abs(count); done += 1) {
      const next = count > 0 ? stops.find((at) => at > cursor.column) : stops.findLast((at) => at < cursor.column);
      cursor.column = Math.min(next ?? (count > 0 ? this.columns : 0), this.columns - 1);
    }
    cursor.wraps = false;
  }

  save() {
    const { cursor, pen, modes, drawing, charset } = this;
    this.saved = { cursor: { ...cursor }, pen, origin: modes.origin, drawing: [...drawing], charset };
  }

  restore() {
    const { cursor, pen, origin, drawing, charset } = this.saved || { cursor: { row: 0, column: 0 }, pen: PLAIN, origin: false, drawing: [false, false], charset: 0 };
    Object.assign(this, { pen, drawing: [...drawing], charset });
    this.modes.origin = origin;
    this.cursor.row = Math.min(cursor.row, this.rows - 1);
    this.cursor.column = Math.min(cursor.column, this.columns - 1);
    this.cursor.wraps = Boolean(cursor.wraps) && cursor.column < this.columns;
  }

  // The screen of editors and pagers, from which nothing is kept.
  alternate(on) {
    if (on === (this.main !== null)) return;
    if (on) [this.main, this.lines] = [this.lines, this.fresh(PLAIN)];
    else [this.lines, this.main] = [this.main, null];
    this.margins();
  }

  resize(rows, columns) {
    for (const line of [...this.lines, ...(this.main || [])]) line.resize(columns);
    const before = this.cursor.row;
    [this.rows, this.columns] = [rows, columns];
    const gone = this.fit(this.lines, this.cursor.row, this.main === null);
    if (this.main) this.fit(this.main, this.saved?.cursor.row ?? before, true);
    this.cursor.row = Math.max(0, Math.min(rows - 1, before - gone));
    this.cursor.column = Math.min(this.cursor.column, columns - 1);
    this.cursor.wraps = false;
    this.margins();
  }

  // Lines below the cursor go first, then those at the top; returns how many of these went.
  fit(lines, row, keeps) {
    let gone = 0;
    while (lines.length > this.rows) {
      if (row - gone < lines.length - 1) lines.pop();
      else {
        const line = lines.shift();
        gone += 1;
        if (keeps) this.leave(line);
      }
    }
    while (lines.length < this.rows) lines.push(new Line(this.columns));
    return gone;
  }
}
