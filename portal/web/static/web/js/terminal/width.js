// How many cells a character takes: two for wide ones, none for what joins the one before it.
const joining = /^[\p{Mn}\p{Me}\u200b-\u200f\u2060-\u2064\ufeff]$/u;
const pictures = /^\p{Emoji_Presentation}$/u;
const wide = [
  [0x1100, 0x115f], [0x2e80, 0x303e], [0x3041, 0x33ff], [0x3400, 0x4dbf], [0x4e00, 0x9fff], [0xa000, 0xa4cf],
  [0xa960, 0xa97c], [0xac00, 0xd7a3], [0xf900, 0xfaff], [0xfe10, 0xfe19], [0xfe30, 0xfe6f], [0xff01, 0xff60],
  [0xffe0, 0xffe6], [0x17000, 0x18aff], [0x1b000, 0x1b2ff], [0x1f200, 0x1f265], [0x20000, 0x3fffd],
];
const known = new Map();

export function width(char) {
  const code = char.codePointAt(0);
  if (code < 0x300) return 1;
  if (!known.has(char)) known.set(char, measured(char, code));
  return known.get(char);
}

function measured(char, code) {
  if (joining.test(char)) return 0;
  const flags = code >= 0x1f1e6 && code <= 0x1f1ff;
  if (wide.some(([first, last]) => code >= first && code <= last)) return 2;
  return pictures.test(char) && !flags ? 2 : 1;
}
