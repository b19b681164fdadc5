// How a cell looks: colours (null, 0 to 255, or "#rrggbb") and a few traits. Equal looks are one object.
const TRAITS = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 5: "blink", 7: "inverse", 8: "hidden", 9: "strike" };
const WITHOUT = { 22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 25: ["blink"], 27: ["inverse"], 28: ["hidden"], 29: ["strike"] };
const interned = new Map();

function intern(front, back, traits) {
  const key = `${front} ${back} ${[...traits].sort().join(" ")}`;
  if (!interned.has(key)) {
    if (interned.size > 5000) interned.clear();
    interned.set(key, Object.freeze({ front, back, traits: new Set(traits) }));
  }
  return interned.get(key);
}

export const PLAIN = intern(null, null, []);

// What erased cells keep of it.
export const ground = (pen) => (pen.back === null ? PLAIN : intern(null, pen.back, []));

const hex = (value) => Math.max(0, Math.min(255, value || 0)).toString(16).padStart(2, "0");

// The colour after 38 or 48, and how many parameters of the list it took.
function extended(params, at) {
  const joined = params[at].length > 1;
  const rest = joined ? params[at].slice(1) : params.slice(at + 1, at + 5).map((one) => one[0]);
  if (rest[0] === 5) return [rest[1] <= 255 ? rest[1] : null, joined ? 0 : 2];
  // With colons a colour space may stand before the three.
  const [red, green, blue] = joined ? rest.slice(-3) : rest.slice(1, 4);
  return rest[0] === 2 ? [`#${hex(red)}${hex(green)}${hex(blue)}`, joined ? 0 : 4] : [null, 0];
}

// The look after "select graphic rendition" with these parameters.
export function rendition(pen, params) {
  let { front, back } = pen;
  let traits = new Set(pen.traits);
  const list = params.length ? params : [[0]];
  for (let at = 0; at < list.length; at += 1) {
    const code = list[at][0] || 0;
    if (code === 0) [front, back, traits] = [null, null, new Set()];
    else if (code === 4 && list[at][1] === 0) traits.delete("underline");
    else if (code === 21) traits.add("underline");
    else if (TRAITS[code]) traits.add(TRAITS[code]);
    else if (WITHOUT[code]) for (const name of WITHOUT[code]) traits.delete(name);
    else if (code === 38 || code === 48) {
      const [colour, taken] = extended(list, at);
      if (code === 38) front = colour;
      else back = colour;
      at += taken;
    } else if (code === 39) front = null;
    else if (code === 49) back = null;
    else if (code >= 30 && code <= 37) front = code - 30;
    else if (code >= 40 && code <= 47) back = code - 40;
    else if (code >= 90 && code <= 97) front = code - 82;
    else if (code >= 100 && code <= 107) back = code - 92;
  }
  return intern(front, back, traits);
}
