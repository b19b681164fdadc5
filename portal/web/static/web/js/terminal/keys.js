// What a key sends to a program, as xterm does; null is for the browser.
const FINAL = { ArrowUp: "A", ArrowDown: "B", ArrowRight: "C", ArrowLeft: "D", End: "F", Home: "H" };
const NUMBERED = { Insert: 2, Delete: 3, PageUp: 5, PageDown: 6, F5: 15, F6: 17, F7: 18, F8: 19, F9: 20, F10: 21, F11: 23, F12: 24 };
const FUNCTION = { F1: "P", F2: "Q", F3: "R", F4: "S" };
const CONTROLS = { " ": "\0", "@": "\0", "[": "\x1b", "\\": "\x1c", "]": "\x1d", "^": "\x1e", "6": "\x1e", "_": "\x1f", "-": "\x1f", "/": "\x1f", "?": "\x7f" };
// With Ctrl and Shift: paste, copy, and what the browser keeps.
const BROWSERS = "VCNTWRIJ";

const modifier = (event) => 1 + (event.shiftKey ? 1 : 0) + (event.altKey ? 2 : 0) + (event.ctrlKey ? 4 : 0);

function simple(event) {
  const before = event.altKey ? "\x1b" : "";
  if (event.key === "Enter") return `${before}\r`;
  if (event.key === "Escape") return `${before}\x1b`;
  if (event.key === "Backspace") return before + (event.ctrlKey ? "\b" : "\x7f");
  if (event.key === "Tab") return event.ctrlKey ? null : event.shiftKey ? "\x1b[Z" : `${before}\t`;
  return undefined;
}

function special(event, modes) {
  const { key } = event;
  const by = modifier(event);
  const letter = FINAL[key] || FUNCTION[key];
  if (letter && by > 1) return `\x1b[1;${by}${letter}`;
  if (letter) return `\x1b${FUNCTION[key] || modes.arrows ? "O" : "["}${letter}`;
  if (NUMBERED[key]) return `\x1b[${NUMBERED[key]}${by > 1 ? `;${by}` : ""}~`;
  return undefined;
}

function typed(event) {
  const { key } = event;
  if ([...key].length !== 1 || event.metaKey || event.getModifierState("AltGraph")) return null;
  if (event.ctrlKey && event.shiftKey && BROWSERS.includes(key.toUpperCase())) return null;
  if (event.ctrlKey) {
    const code = key.toLowerCase().charCodeAt(0);
    const control = code >= 97 && code <= 122 ? String.fromCharCode(code - 96) : CONTROLS[key];
    return control === undefined ? null : (event.altKey ? "\x1b" : "") + control;
  }
  // Everything else comes as text, also from an input method.
  return event.altKey ? `\x1b${key}` : null;
}

export function sequence(event, modes) {
  if (event.shiftKey && (event.key === "Insert" || event.key === "F6")) return null;
  return simple(event) !== undefined ? simple(event) : (special(event, modes) ?? typed(event));
}

// Nothing that is pasted ends the paste, or is a command to the terminal.
export function pasted(text, modes) {
  const plain = text.replace(/\r?\n/g, "\r").replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f]/g, "");
  return modes.bracketed ? `\x1b[200~${plain}\x1b[201~` : plain;
}
