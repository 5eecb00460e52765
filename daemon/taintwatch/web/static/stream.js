// One long answer with everything that is new: records of two lengths (4 bytes each), JSON and JPEG.
const FIRST_WAIT_MS = 500, LONGEST_WAIT_MS = 8000, SILENT_MS = 12000;

export class Stream {
  constructor({ onRecord, onState, query }) {
    Object.assign(this, { onRecord, onState, query, wait: FIRST_WAIT_MS, stop: null });
    this.run();
  }

  restart() { // with another query
    this.wait = FIRST_WAIT_MS;
    this.again = true;
    this.stop?.abort();
    this.wake?.();
  }

  async run() {
    for (;;) {
      this.stop = new AbortController();
      this.again = false;
      let silence = 0;
      const alive = () => {
        clearTimeout(silence);
        silence = setTimeout(() => this.stop.abort(), SILENT_MS);
      };
      try {
        alive();
        const answer = await fetch(`/stream?${this.query()}`, { signal: this.stop.signal });
        if (answer.status === 401) return location.reload();
        if (!answer.ok) throw new Error((await answer.text()).trim());
        this.onState("connected");
        this.wait = FIRST_WAIT_MS;
        await this.read(answer.body.getReader(), alive);
        if (!this.again) this.onState("lost");
      } catch (error) {
        if (!this.again) this.onState(error.name === "AbortError" || error instanceof TypeError ? "lost" : error.message);
      }
      clearTimeout(silence);
      if (this.again) continue;
      await new Promise((wake) => { this.wake = wake; setTimeout(wake, this.wait); });
      this.wait = Math.min(LONGEST_WAIT_MS, 2 * this.wait);
    }
  }

  async read(reader, alive) {
    let held = new Uint8Array(0);
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      alive();
      const joined = new Uint8Array(held.length + value.length);
      joined.set(held);
      joined.set(value, held.length);
      held = this.take(joined);
    }
  }

  take(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let at = 0;
    while (bytes.length - at >= 8) {
      const text = view.getUint32(at), jpeg = view.getUint32(at + 4), end = at + 8 + text + jpeg;
      if (end > bytes.length) break;
      const told = JSON.parse(new TextDecoder().decode(bytes.subarray(at + 8, at + 8 + text)));
      this.onRecord(told, jpeg ? bytes.slice(at + 8 + text, end) : null);
      at = end;
    }
    return bytes.slice(at);
  }
}
