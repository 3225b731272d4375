//! Origins: which web pages may open a connection. Checked once in every handshake that a browser makes.
//! `docs/architecture.md` §8.1 (closed by default: no other origin); RFC 6454 for the shape of an origin.

use wildmatch::WildMatch;

/// Longest `Origin` value that is looked at, in bytes: a scheme, a host name of at most 253 and a port.
const ORIGIN_MAX_BYTES: usize = 512;

/// The `Origin` that a browser sends for pages without an origin of their own (sandboxed frames, local files).
const NULL_ORIGIN: &str = "null";

/// Why a list of origins cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// Neither `*`, nor `null`, nor `scheme://host[:port]`.
    #[error(
        "bad origin {0:?}: write it as `https://host` or `https://host:port` (`*` may stand for any part)"
    )]
    Shape(String),
    /// An origin ends with its host or port; a browser never sends more, so this would never match.
    #[error("bad origin {0:?}: an origin has no path and no final slash")]
    Path(String),
}

/// The pages that may connect. Without any: only pages of the same host and port (same-origin). With a list,
/// the list alone decides, the own host included.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
enum Rule {
    Any,
    Null,
    Glob(WildMatch),
}

impl Origins {
    /// Takes the list of the settings: origins (`https://example.com`), globs (`https://*.example.com`,
    /// `http://localhost:*`), `null`, or `*` for any. Case does not matter; default ports may be left out.
    pub fn new<S: AsRef<str>>(list: &[S]) -> Result<Self, OriginError> {
        let rules = list.iter().map(|entry| Rule::new(entry.as_ref())).collect::<Result<_, _>>()?;
        Ok(Self { rules })
    }

    /// Decides if a page of this origin may connect. `origin` is the header's value, None without the header: then the
    /// client is no browser and is allowed. `host` is the `Host` header (`host` or `host:port`); a proxy in
    /// front may have taken TLS away, so its scheme is not known and only host and port are compared.
    #[must_use]
    pub fn allows(&self, origin: Option<&str>, host: &str) -> bool {
        let Some(origin) = origin else {
            return true;
        };
        let is_null = origin.eq_ignore_ascii_case(NULL_ORIGIN);
        let parsed = Origin::parse(origin);
        if self.rules.is_empty() {
            return parsed.is_some_and(|origin| origin.is_same_host(host));
        }
        let text = parsed.map(|origin| origin.text());
        self.rules.iter().any(|rule| match rule {
            Rule::Any => true,
            Rule::Null => is_null,
            Rule::Glob(glob) => text.as_deref().is_some_and(|text| glob.matches(text)),
        })
    }
}

impl Rule {
    fn new(entry: &str) -> Result<Self, OriginError> {
        let lower = entry.trim().to_ascii_lowercase();
        if lower == "*" {
            return Ok(Self::Any);
        }
        if lower == NULL_ORIGIN {
            return Ok(Self::Null);
        }
        let shape = || OriginError::Shape(entry.to_owned());
        let (scheme, rest) = lower.split_once("://").ok_or_else(shape)?;
        if rest.contains('/') {
            return Err(OriginError::Path(entry.to_owned()));
        }
        if scheme.is_empty() || rest.is_empty() || rest.contains(['@', '?', '#', '\\']) || !is_plain(&lower) {
            return Err(shape());
        }
        let (host, port) = split_port(rest);
        let is_default = port.is_some() && port == default_port(scheme);
        let host = if is_default { host } else { rest };
        Ok(Self::Glob(WildMatch::new(&format!("{scheme}://{host}"))))
    }
}

/// An `Origin` header of the form `scheme://host[:port]`.
struct Origin {
    scheme: String,
    host: String,
    /// Never the scheme's default one.
    port: Option<String>,
}

impl Origin {
    /// Strict, since globs would else match across the parts (`https://evil.test/.example.com`).
    fn parse(value: &str) -> Option<Self> {
        if value.len() > ORIGIN_MAX_BYTES || !is_plain(value) {
            return None;
        }
        let lower = value.to_ascii_lowercase();
        let (scheme, rest) = lower.split_once("://")?;
        let scheme_is_plain =
            scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        if scheme.is_empty() || !scheme_is_plain || rest.contains(['/', '@', '?', '#', '\\', '*']) {
            return None;
        }
        let (host, port) = split_port(rest);
        let is_bracketed = host.starts_with('[') && host.ends_with(']');
        let port_is_number = port.is_none_or(|port| port.parse::<u16>().is_ok());
        if host.is_empty() || !port_is_number || (host.contains(':') && !is_bracketed) {
            return None;
        }
        let port = port.filter(|port| Some(*port) != default_port(scheme));
        Some(Self { scheme: scheme.to_owned(), host: host.to_owned(), port: port.map(str::to_owned) })
    }

    fn text(&self) -> String {
        match &self.port {
            Some(port) => format!("{}://{}:{port}", self.scheme, self.host),
            None => format!("{}://{}", self.scheme, self.host),
        }
    }

    fn is_same_host(&self, host: &str) -> bool {
        let (host, port) = split_port(host.trim());
        let port = port.filter(|port| Some(*port) != default_port(&self.scheme));
        host.eq_ignore_ascii_case(&self.host) && port == self.port.as_deref()
    }
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Splits `host:port`; the colons inside the brackets of an IPv6 address do not count.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    }
}

fn default_port(scheme: &str) -> Option<&'static str> {
    match scheme {
        "http" | "ws" => Some("80"),
        "https" | "wss" => Some("443"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
