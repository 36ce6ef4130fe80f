// The exporter's event stream, shared by all tabs: a browser opens at most six connections to one server, and each
// stream takes one. The tab that has the lock has the stream and forwards its events. When that tab is closed or
// hidden, the next one takes over.

const NAME = "redis-client-exporter events";
// Asks the tab with the stream for its state.
const STATE_REQUEST = "state?";

// Delay before a refused stream is opened again, in milliseconds.
const RETRY_MS = 10_000;

export class Stream {
  #onEvent;
  #ending = null;
  #state = null;
  // Browsers have locks only for pages over TLS or from this machine. Other pages each have their own stream.
  #channel = navigator.locks ? new BroadcastChannel(NAME) : null;

  // Calls `onEvent` with the stream's states `open`, `lost` and `refused`, and with the name of each event.
  constructor(onEvent) {
    this.#onEvent = onEvent;
    this.#channel?.addEventListener("message", ({ data }) => {
      if (data !== STATE_REQUEST) this.#ending && onEvent(data);
      else if (this.#state) this.#channel.postMessage(this.#state);
    });
  }

  begin() {
    if (this.#ending) return;
    this.#ending = new AbortController();
    const { signal } = this.#ending;
    signal.addEventListener("abort", () => (this.#state = null));
    if (!this.#channel) return this.#listen(signal);
    this.#channel.postMessage(STATE_REQUEST);
    const hold = () => new Promise((end) => (signal.addEventListener("abort", end), this.#listen(signal)));
    // The stream may end before this tab gets the lock.
    navigator.locks.request(NAME, { signal }, hold).catch(() => {});
  }

  end() {
    this.#ending?.abort();
    this.#ending = null;
  }

  #publish(name, state = this.#state) {
    this.#state = state;
    this.#onEvent(name);
    this.#channel?.postMessage(name);
  }

  #listen(signal) {
    if (signal.aborted) return;
    const source = new EventSource("/api/v1/events");
    signal.addEventListener("abort", () => source.close());
    source.addEventListener("open", () => this.#publish("open", "open"));
    for (const name of ["status", "removed", "opened", "closed"]) {
      source.addEventListener(name, () => this.#publish(name));
    }
    source.addEventListener("error", () => {
      // The browser does not retry after an answer that is not a stream.
      const isRefused = source.readyState === EventSource.CLOSED;
      const state = isRefused ? "refused" : "lost";
      this.#publish(state, state);
      if (isRefused) setTimeout(() => this.#listen(signal), RETRY_MS);
    });
  }
}
