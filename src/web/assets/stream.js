// What the exporter tells as it happens, one stream for all tabs: a browser opens six connections to one server, and each stream
// takes one. The tab that has the lock has the stream, and passes on what it hears; when it is closed or hidden, the next takes over.

const NAME = "redis-client-exporter events";
const WHO = "who has the stream?";

// How long to wait, in milliseconds, before a stream that was refused is asked for again.
const RETRY = 10_000;

export class Stream {
  #hear;
  #ending = null;
  #state = null;
  // A page that came neither over TLS nor from this machine has no locks, and a stream of its own.
  #channel = navigator.locks ? new BroadcastChannel(NAME) : null;

  // `hear` is told `open`, `lost` or `refused` of the stream, and the name of each event.
  constructor(hear) {
    this.#hear = hear;
    this.#channel?.addEventListener("message", ({ data }) => {
      if (data !== WHO) this.#ending && hear(data);
      else if (this.#state) this.#channel.postMessage(this.#state);
    });
  }

  begin() {
    if (this.#ending) return;
    this.#ending = new AbortController();
    const { signal } = this.#ending;
    signal.addEventListener("abort", () => (this.#state = null));
    if (!this.#channel) return this.#listen(signal);
    this.#channel.postMessage(WHO);
    const hold = () => new Promise((end) => (signal.addEventListener("abort", end), this.#listen(signal)));
    // It may end before it is its turn.
    navigator.locks.request(NAME, { signal }, hold).catch(() => {});
  }

  end() {
    this.#ending?.abort();
    this.#ending = null;
  }

  #tell(what, state = this.#state) {
    this.#state = state;
    this.#hear(what);
    this.#channel?.postMessage(what);
  }

  #listen(signal) {
    if (signal.aborted) return;
    const source = new EventSource("/api/v1/events");
    signal.addEventListener("abort", () => source.close());
    source.addEventListener("open", () => this.#tell("open", "open"));
    for (const name of ["status", "opened", "closed"]) source.addEventListener(name, () => this.#tell(name));
    source.addEventListener("error", () => {
      // After an answer that is no stream the browser does not try again.
      const isRefused = source.readyState === EventSource.CLOSED;
      const state = isRefused ? "refused" : "lost";
      this.#tell(state, state);
      if (isRefused) setTimeout(() => this.#listen(signal), RETRY);
    });
  }
}
