// Takes apart what a program writes to its terminal: text, control characters and the sequences of ECMA-48.
//
// `on` has print(char), control(code), escape(between, final), csi(prefix, params, between, final) and osc(number, text).
// A parameter is a list of numbers (those joined by colons); one that was left out is undefined.
const MOST_PARAMETERS = 256;
const LONGEST_STRING = 4096;
const [CAN, SUB, ESC, DEL, BEL] = [0x18, 0x1a, 0x1b, 0x7f, 0x07];

export class Parser {
  constructor(on) {
    this.on = on;
    this.state = "ground";
    this.collected = "";
    this.between = "";
  }

  feed(text) {
    for (const char of text) this.take(char, char.codePointAt(0));
  }

  take(char, code) {
    if (this.state === "osc" || this.state === "string") this.inString(char, code);
    else if (code === ESC) this.begin("escape");
    else if (code === CAN || code === SUB) this.begin("ground");
    else if (code < 0x20) this.on.control(code);
    else if (code === DEL || (code >= 0x80 && code < 0xa0)) return;
    else if (this.state === "ground") this.on.print(char);
    else this[this.state](char, code);
  }

  begin(state) {
    this.state = state;
    this.collected = this.between = "";
  }

  // A string ends with BEL or with ESC \; its ESC begins a sequence in any case.
  inString(char, code) {
    if (code === BEL || code === ESC) {
      if (this.state === "osc") this.endString();
      this.begin(code === ESC ? "escape" : "ground");
    } else if (code === CAN || code === SUB) this.begin("ground");
    else if (this.collected.length < LONGEST_STRING) this.collected += char;
  }

  endString() {
    const [, number, text] = /^(\d+);?(.*)$/su.exec(this.collected) || [];
    if (number !== undefined) this.on.osc(Number(number), text);
  }

  escape(char, code) {
    if (code < 0x30) this.between += char;
    else if (this.between === "" && char === "[") this.begin("csi");
    else if (this.between === "" && char === "]") this.begin("osc");
    else if (this.between === "" && "PX^_".includes(char)) this.begin("string");
    else {
      const between = this.between;
      this.begin("ground");
      this.on.escape(between, char);
    }
  }

  csi(char, code) {
    if (code < 0x30) this.between += char;
    else if (code < 0x40) {
      if (this.collected.length < MOST_PARAMETERS) this.collected += char;
    } else {
      const [, prefix, numbers] = /^([<=>?]?)([0-9:;]*)/u.exec(this.collected);
      const between = this.between;
      this.begin("ground");
      this.on.csi(prefix, parameters(numbers), between, char);
    }
  }
}

const number = (text) => (text === "" ? undefined : Math.min(Number(text), 99999));

function parameters(text) {
  return text === "" ? [] : text.split(";").map((one) => one.split(":").map(number));
}
