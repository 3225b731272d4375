// Gorani's HTTP API, as far as the app uses it.

/** Milliseconds after which a call counts as failed. The node answers in a few, or says within seconds that it cannot. */
const TIMEOUT = 5000;

export class Gorani {
  /** `url`: of a node or of the balancer in front of the cluster; `apiKey`: one of api.keys. */
  constructor(url, apiKey) {
    this.url = url;
    this.apiKey = apiKey;
  }

  /**
   * Publishes. `{channel, data}` reaches everybody who is subscribed, `{user, channel, data}` that user alone.
   *
   * Resolves when the node has accepted it, and throws in every other case. The same `idempotency_key` twice publishes once, so a
   * caller that does not know may simply try again.
   */
  async publish(publication) {
    const response = await fetch(`${this.url}/api/publish`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-API-Key": this.apiKey },
      body: JSON.stringify(publication),
      signal: AbortSignal.timeout(TIMEOUT),
    });
    // An error of a call is 200 with "error" by default (api.error_mode), as Centrifugo's libraries expect it.
    const { result, error } = await response.json();
    if (error) throw new Error(`publish: ${error.message} (${error.code})`);
    return result;
  }
}
