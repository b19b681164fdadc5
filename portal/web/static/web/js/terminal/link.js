// Between the page and the portal: what is written comes as events, what is typed goes in requests, one at a time.
const ACKNOWLEDGED = 32 * 1024;
const LONGEST = 16 * 1024;
const PATIENCE = 60_000;

const bytes = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

export class Link {
  // `on` has output(text, entry), state(name, words) and ended(told).
  constructor({ stream, send, token }, on) {
    Object.assign(this, { address: stream, send: send, token, on });
    this.decoder = new TextDecoder();
    [this.text, this.size, this.entry, this.told] = ["", null, "", ""];
    [this.unseen, this.busy, this.over, this.since] = [0, false, false, 0];
  }

  open() {
    const source = new EventSource(this.entry ? `${this.address}?after=${this.entry}` : this.address);
    source.onopen = () => this.opened();
    source.onmessage = (event) => this.take(event);
    source.addEventListener("end", (event) => this.end(JSON.parse(event.data)));
    source.onerror = () => this.failed(source);
    this.source = source;
  }

  opened() {
    this.since = 0;
    if (this.entry) this.on.state("open", "Open");
    this.flush();
  }

  take(event) {
    const data = bytes(event.data);
    this.entry = event.lastEventId;
    this.unseen += data.length;
    this.on.state("open", "Open");
    this.on.output(this.decoder.decode(data, { stream: true }), this.entry);
    if (this.unseen >= ACKNOWLEDGED) this.flush();
  }

  // The browser tries again by itself where a connection broke; where the portal answered otherwise, we do.
  failed(source) {
    if (this.over) return;
    this.since ||= Date.now();
    this.on.state("polling", "Connecting again");
    if (source.readyState !== EventSource.CLOSED) return;
    if (Date.now() - this.since > PATIENCE) this.end({ words: "the portal does not answer" });
    else setTimeout(() => this.again(), 1000);
  }

  async again() {
    if (this.over) return;
    this.size ||= this.lastSize || null;
    await this.flush(true);
    if (!this.over) this.open();
  }

  type(text) {
    if (this.over) return;
    this.text += text;
    this.flush();
  }

  resize(rows, columns) {
    this.size = this.lastSize = [rows, columns];
    this.flush();
  }

  get waits() {
    return this.text !== "" || this.size !== null || this.unseen >= ACKNOWLEDGED;
  }

  async flush(anyway = false) {
    if (this.busy || this.over || !(anyway || this.waits)) return;
    this.busy = true;
    const item = { text: this.text.slice(0, LONGEST), size: this.size, seen: this.entry };
    const { unseen, size } = this;
    const status = await this.post(item);
    this.busy = false;
    if (status === 204) {
      this.text = this.text.slice(item.text.length);
      this.unseen -= unseen;
      if (this.size === size) this.size = null;
      this.flush();
    } else if (status === 0 || status === 429 || status >= 500) setTimeout(() => this.flush(), 500);
    else if (status === 410) return; // the stream says why it ended
    else this.end({ words: "you were signed out, or the page is too old: load it again" });
  }

  // The status of the answer: 0 for none, 302 for any redirection.
  async post(item) {
    const headers = { "Content-Type": "application/json", "X-CSRFToken": this.token };
    try {
      const answer = await fetch(this.send, { method: "POST", headers, body: JSON.stringify(item), redirect: "manual" });
      return answer.type === "opaqueredirect" ? 302 : answer.status;
    } catch {
      return 0;
    }
  }

  end(told) {
    if (this.over) return;
    this.over = true;
    this.source?.close();
    this.on.ended(told);
  }
}
