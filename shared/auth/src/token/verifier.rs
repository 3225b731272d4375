//! Checks tokens: picks the key, the signature, then the claims. Called by the sessions of every worker
//! thread. `docs/protocols/client.md` §10; RFC 8725 (what goes wrong with JWTs).

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jsonwebtoken::{
    Algorithm, DecodingKey, Header, Validation, dangerous::insecure_decode, decode, decode_header,
    errors::ErrorKind,
};
use serde_json::value::RawValue;

use super::{
    AuthSettingsError, InvalidToken, TOKEN_MAX_BYTES, TOKEN_MAX_JSON_DEPTH, TokenError,
    claims::{ConnectionClaims, SubscriptionClaims, TokenPayload},
    key::{self, RSA_ALGORITHMS, TokenSettings, VerifyingKey, parse},
};

/// The keys of the settings and of the JWK set, ready for use. Share it in an `Arc`; a check does not block,
/// takes no lock but for cloning two `Arc`s, and needs 2 µs (HMAC) to 200 µs (ECDSA) of CPU.
pub struct TokenVerifier {
    current: RwLock<CurrentKeys>,
}

/// The keys that count now. Both are taken in one step, so a check never mixes those before and after a reload.
#[derive(Clone)]
struct CurrentKeys {
    settings: Arc<SettingsKeys>,
    jwks: Arc<Vec<VerifyingKey>>,
}

/// The keys and conditions of the settings.
struct SettingsKeys {
    fixed: Vec<VerifyingKey>,
    /// `token.hmac_secret_previous`.
    previous_secret: Option<DecodingKey>,
    jwks_source: Option<JwksSource>,
    audience: Option<String>,
    issuer: Option<String>,
    leeway_s: u64,
    is_configured: bool,
}

/// The address that a JWK set is fetched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwksSource {
    /// `token.jwks_url`.
    pub url: String,
    /// `token.jwks_refresh`: the interval of the fetches.
    pub refresh: Duration,
}

impl SettingsKeys {
    fn read(settings: &TokenSettings) -> Result<Self, AuthSettingsError> {
        settings.validate()?;
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let previous = given(&settings.hmac_secret_previous);
        Ok(Self {
            fixed: key::from_settings(settings)?,
            previous_secret: previous.map(|secret| DecodingKey::from_secret(secret.as_bytes())),
            jwks_source: given(&settings.jwks_url)
                .map(|url| JwksSource { url, refresh: settings.jwks_refresh }),
            audience: given(&settings.audience),
            issuer: given(&settings.issuer),
            leeway_s: settings.leeway.as_secs(),
            is_configured: settings.is_configured(),
        })
    }
}

/// The JWK set that stands in the settings as text; empty for none.
fn written_jwks(settings: &TokenSettings) -> Result<Vec<VerifyingKey>, AuthSettingsError> {
    if settings.jwks.is_empty() { Ok(Vec::new()) } else { parse(settings.jwks.as_bytes(), RSA_ALGORITHMS) }
}

impl TokenVerifier {
    /// Checks the settings ([`TokenSettings::validate`]) and reads their keys.
    pub fn new(settings: &TokenSettings) -> Result<Self, AuthSettingsError> {
        let (keys, jwks) = (SettingsKeys::read(settings)?, written_jwks(settings)?);
        let current = CurrentKeys { settings: Arc::new(keys), jwks: Arc::new(jwks) };
        Ok(Self { current: RwLock::new(current) })
    }

    /// A verifier with other settings that takes the place of this one: only their keys and conditions count. Keys that were fetched from
    /// an address stay until the next fetch, so nobody is refused while an address does not answer.
    pub fn renewed(&self, settings: &TokenSettings) -> Result<Self, AuthSettingsError> {
        let (keys, written) = (SettingsKeys::read(settings)?, written_jwks(settings)?);
        let fetched = self.current().jwks;
        let are_fetched = keys.jwks_source.is_some() && !fetched.is_empty();
        let jwks = if are_fetched { fetched } else { Arc::new(written) };
        Ok(Self { current: RwLock::new(CurrentKeys { settings: Arc::new(keys), jwks }) })
    }

    /// True if there is any key, or a URL to fetch keys from. If not, every token is invalid.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        self.current().settings.is_configured
    }

    /// The address of the JWK set, to fetch it from: at start, on an interval, and, rate limited, on
    /// [`TokenError::UnknownKey`].
    #[must_use]
    pub fn jwks_source(&self) -> Option<JwksSource> {
        self.current().settings.jwks_source.clone()
    }

    /// True while keys are to be fetched and none are there yet: until then no token signed by them is accepted.
    #[must_use]
    pub fn awaits_keys(&self) -> bool {
        let current = self.current();
        current.settings.jwks_source.is_some() && current.jwks.is_empty()
    }

    /// Puts a JWK set (RFC 7517 JSON, at most [`JWKS_MAX_BYTES`](super::JWKS_MAX_BYTES)) in place of the
    /// one there is, for all threads at once. Returns how many of its keys are usable; a set that is refused
    /// changes nothing.
    pub fn install_jwks(&self, json: &[u8]) -> Result<usize, AuthSettingsError> {
        let keys = Arc::new(parse(json, RSA_ALGORITHMS)?);
        let usable = keys.len();
        self.current.write().unwrap_or_else(PoisonError::into_inner).jwks = keys;
        Ok(usable)
    }

    fn current(&self) -> CurrentKeys {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Checks a connection token. `now` is the time in Unix seconds.
    pub fn connection(&self, token: &str, now: u64) -> Result<ConnectionClaims, TokenError> {
        self.current().payload(token, now)?.into_connection()
    }

    /// Checks a subscription token. `now` is the time in Unix seconds.
    pub fn subscription(&self, token: &str, now: u64) -> Result<SubscriptionClaims, TokenError> {
        self.current().payload(token, now)?.into_subscription()
    }
}

impl CurrentKeys {
    fn payload(&self, token: &str, now: u64) -> Result<TokenPayload, TokenError> {
        if !self.settings.is_configured {
            return Err(invalid(InvalidToken::NotConfigured));
        }
        if token.len() > TOKEN_MAX_BYTES {
            return Err(invalid(InvalidToken::TooLong));
        }
        let json = self.signed_json(token)?;
        if depth(json.get()) > TOKEN_MAX_JSON_DEPTH {
            return Err(invalid(InvalidToken::TooDeep));
        }
        let payload = TokenPayload::parse(json.get())?;
        self.check_conditions(&payload, now)?;
        Ok(payload)
    }

    /// The claims of a token with a good signature, as JSON.
    fn signed_json(&self, token: &str) -> Result<Box<RawValue>, TokenError> {
        let header = decode_header(token).map_err(|error| match error.kind() {
            // The header's JSON is read into a struct in which only the algorithm is needed: it is the one to blame
            // when base64 and JSON as such are fine.
            ErrorKind::Json(json) if json.is_data() => invalid(InvalidToken::Algorithm),
            _ => invalid(InvalidToken::Malformed),
        })?;
        if header.crit.is_some() {
            return Err(invalid(InvalidToken::CriticalHeader));
        }
        let key = self.pick_key(&header)?;
        let validation = signature_only(header.alg);
        let mut decoded = decode::<Box<RawValue>>(token, &key.decoding, &validation);
        // Each comparison takes constant time. That a second one is made says no more than that the first secret is not the token's.
        if let Some(previous) = self.settings.previous_secret.as_ref().filter(|_| is_hmac(header.alg))
            && decoded.as_ref().is_err_and(|error| matches!(error.kind(), ErrorKind::InvalidSignature))
        {
            decoded = decode(token, previous, &validation);
        }
        decoded.map(|token| token.claims).map_err(|error| {
            invalid(match error.kind() {
                ErrorKind::InvalidSignature => InvalidToken::Signature,
                // The signature is good by then; the library reads some claims itself.
                ErrorKind::Json(_) => bad_claim(token),
                ErrorKind::Utf8(_) => InvalidToken::Claims,
                ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => InvalidToken::Algorithm,
                _ => InvalidToken::Malformed,
            })
        })
    }

    /// By `kid` among the JWK set; without a `kid`, or with one that the set does not have, the settings' own
    /// key of the kind; without a `kid` and without such a key, the only key of the set that fits.
    fn pick_key(&self, header: &Header) -> Result<&VerifyingKey, TokenError> {
        let fits = |key: &&VerifyingKey| key.algorithms.contains(&header.alg);
        if let Some(id) = &header.kid {
            let mut named = self.jwks.iter().filter(|key| key.id.as_ref() == Some(id)).peekable();
            if named.peek().is_some() {
                return named.find(fits).ok_or(invalid(InvalidToken::Algorithm));
            }
        }
        if let Some(key) = self.settings.fixed.iter().find(fits) {
            return Ok(key);
        }
        let mut fitting = self.jwks.iter().filter(fits);
        match (&header.kid, fitting.next(), fitting.next()) {
            (None, Some(key), None) => Ok(key),
            (None, Some(_), Some(_)) => Err(invalid(InvalidToken::AmbiguousKey)),
            // Only keys that a fetched set can hold: no fetch helps a token that is signed by a shared secret.
            _ if self.settings.jwks_source.is_some() && !is_hmac(header.alg) => Err(TokenError::UnknownKey),
            (Some(_), Some(_), _) => Err(invalid(InvalidToken::NoSuchKey)),
            (_, None, _) => Err(invalid(InvalidToken::Algorithm)),
        }
    }

    /// Checks issuer and audience first: a token of an unknown issuer gets no answer about its age.
    fn check_conditions(&self, payload: &TokenPayload, now: u64) -> Result<(), TokenError> {
        if self.settings.issuer.is_some() && payload.issuer != self.settings.issuer {
            return Err(invalid(InvalidToken::Issuer));
        }
        if self.settings.audience.as_ref().is_some_and(|audience| !payload.is_for(audience)) {
            return Err(invalid(InvalidToken::Audience));
        }
        if payload.not_before.is_some_and(|from| now.saturating_add(self.settings.leeway_s) < from) {
            return Err(TokenError::NotYetValid);
        }
        // `exp` is the first second in which the token is no longer good (RFC 7519 §4.1.4). What it opens must not be
        // over before it begins either, hence `expire_at` too.
        let is_over =
            |end: Option<u64>| end.is_some_and(|end| now >= end.saturating_add(self.settings.leeway_s));
        if is_over(payload.exp) || is_over(payload.ends_at()) {
            return Err(TokenError::Expired);
        }
        Ok(())
    }
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenVerifier").field("is_configured", &self.is_configured()).finish_non_exhaustive()
    }
}

fn invalid(reason: InvalidToken) -> TokenError {
    TokenError::Invalid(reason)
}

/// The claim that is to blame in a token whose signature is good.
fn bad_claim(token: &str) -> InvalidToken {
    let json = insecure_decode::<Box<RawValue>>(token).map(|token| token.claims);
    match json.map(|json| TokenPayload::parse(json.get()).err()) {
        Ok(Some(TokenError::Invalid(reason))) => reason,
        _ => InvalidToken::Claims,
    }
}

pub(super) fn is_hmac(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
}

/// The library checks the signature and the algorithm; the claims are checked here, by the caller's clock.
pub(super) fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

/// The nesting depth of the JSON. `json` is known to be well-formed, so counting brackets outside of strings is
/// enough.
pub(super) fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut is_escaped) = (false, false);
    for byte in json.bytes() {
        if in_string {
            (in_string, is_escaped) = (is_escaped || byte != b'"', !is_escaped && byte == b'\\');
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
