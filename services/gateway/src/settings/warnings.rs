//! What is allowed and should be known: `gorani serve` logs it at the start, `gorani check` prints it.

use super::Settings;

impl Settings {
    /// A sentence for each setting that opens something to everybody, closes something whole, or is weak.
    pub fn warnings(&self) -> Vec<String> {
        let development = &self.development;
        let told = [
            (
                development.page_api_key,
                "DEVELOPMENT: development.page_api_key gives an API key to whoever opens the page",
            ),
            (development.echo, "DEVELOPMENT: development.echo serves /echo to everybody"),
            (self.client.allow_anonymous, "client.allow_anonymous lets everybody connect without a token"),
            (self.api.keys.is_empty(), "api.keys is empty: the HTTP API is closed"),
        ];
        let told = told.into_iter().filter(|(holds, _)| *holds).map(|(_, text)| text.to_owned());
        let weak = self.weak_secrets().into_iter().map(|key| {
            format!("{key}: a secret of fewer than 16 characters can be guessed; make one with: openssl rand -hex 32")
        });
        told.chain(weak).collect()
    }
}
