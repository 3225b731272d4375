//! A small identity provider over real HTTP. It does what the standard asks of one: a code is good once, for the client and the address
//! that it was given to, with the right secret and the right PKCE verifier.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine, prelude::*};
use gorani_tests::{
    backend::{Answer, Backend, Request},
    raw::RawSocket,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};

/// The secret of the client. Characters that a form encodes are in it.
pub(super) const CLIENT_SECRET: &str = "secret of the client: +/%=&";
/// The id of the client, as a form encodes it.
const CLIENT_ID: &str = "gorani & co";

/// The signer of ID tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signing {
    Es256,
    Rs256,
    /// `"alg":"none"`.
    Nobody,
    /// HS256 by the secret of the client.
    ClientSecret,
    /// Another key under the name of the right one.
    OtherKey,
    /// Another key under a name that is not in the set before it has rotated.
    UnknownKey,
}

struct Key {
    id: &'static str,
    algorithm: Algorithm,
    private: EncodingKey,
}

impl Key {
    fn es256(id: &'static str) -> Self {
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let private = EncodingKey::from_ec_der(der.unwrap().as_ref());
        Self { id, algorithm: Algorithm::ES256, private }
    }

    fn rs256(id: &'static str) -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let text = BASE64_STANDARD.encode(der.as_ref());
        let lines: Vec<_> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
        let private = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
        Self { id, algorithm: Algorithm::RS256, private }
    }

    fn public(&self) -> Value {
        let mut jwk =
            serde_json::to_value(Jwk::from_encoding_key(&self.private, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.to_owned()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.private).unwrap()
    }
}

/// The facts that the provider keeps of a code that it gave.
struct GivenCode {
    challenge: String,
    nonce: String,
    redirect_url: String,
    is_used: bool,
}

struct State {
    issuer: String,
    secret: String,
    signing: Signing,
    /// Claims in the place of the usual ones; `null` takes one away.
    changed: Value,
    tokens: Option<Answer>,
    /// The answer in the place of its keys.
    key_set: Option<Answer>,
    codes: HashMap<String, GivenCode>,
    keys: [Key; 2],
    /// Not in the set: one under the name of the first, and one that is to come.
    others: [Key; 2],
    /// The one that is to come has come.
    has_rotated: bool,
}

/// A running provider.
pub(super) struct IdentityProvider {
    backend: Backend,
    state: Arc<Mutex<State>>,
    next_code: AtomicUsize,
}

impl IdentityProvider {
    pub(super) fn start() -> Self {
        let backend = Backend::start(|_| Answer::status(503));
        let issuer = backend.url("/realms/company");
        let state = Arc::new(Mutex::new(State {
            issuer: issuer.trim_end_matches('/').to_owned(),
            secret: CLIENT_SECRET.to_owned(),
            signing: Signing::Es256,
            changed: json!({}),
            tokens: None,
            key_set: None,
            codes: HashMap::new(),
            keys: [Key::es256("first"), Key::rs256("second")],
            others: [Key::es256("first"), Key::es256("third")],
            has_rotated: false,
        }));
        let shared = state.clone();
        backend.answer_by(move |request| shared.lock().unwrap().answer(request));
        Self { backend, state, next_code: AtomicUsize::new(0) }
    }

    pub(super) fn issuer(&self) -> String {
        self.state.lock().unwrap().issuer.clone()
    }

    pub(super) fn sign_by(&self, signing: Signing) {
        self.state.lock().unwrap().signing = signing;
    }

    pub(super) fn claim(&self, changed: Value) {
        self.state.lock().unwrap().changed = changed;
    }

    pub(super) fn answer_tokens_by(&self, answer: Option<Answer>) {
        self.state.lock().unwrap().tokens = answer;
    }

    pub(super) fn answer_keys_by(&self, answer: Option<Answer>) {
        self.state.lock().unwrap().key_set = answer;
    }

    /// Signs by a new key from now on, which its set has beside the others.
    pub(super) fn rotate(&self) {
        let mut state = self.state.lock().unwrap();
        state.has_rotated = true;
        state.signing = Signing::UnknownKey;
    }

    pub(super) fn change_secret(&self) {
        "another secret".clone_into(&mut self.state.lock().unwrap().secret);
    }

    /// The server behind it, which a test can have answer as it likes.
    pub(super) fn into_backend(self) -> Backend {
        self.backend
    }

    /// Requests whose path ends so.
    pub(super) fn asked(&self, path: &str) -> usize {
        self.backend.requests().iter().filter(|request| request.path.ends_with(path)).count()
    }

    /// The browser opens the address of a login, the person logs in, and the browser is sent back: the path at the node.
    pub(super) fn authorize(&self, location: &str) -> String {
        let (number, mut socket) =
            (self.next_code.fetch_add(1, Ordering::SeqCst), RawSocket::connect(self.backend.address()));
        let host = self.backend.address();
        let path = location.strip_prefix(&format!("http://{host}")).unwrap();
        let request =
            format!("GET {path}&code_number={number} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        socket.write(request.as_bytes()).unwrap();
        let head = socket.read_head().unwrap();
        assert_eq!(head.status, 302, "{location}");
        let back = head.header("location").unwrap();
        let (_, path) = back.split_once("//").unwrap().1.split_once('/').unwrap();
        format!("/{path}")
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        match (request.method.as_str(), path.strip_prefix("/realms/company").unwrap_or_default()) {
            ("GET", "/.well-known/openid-configuration") => {
                let at = |path: &str| format!("{}{path}", self.issuer);
                Answer::Json(json!({
                    "issuer": self.issuer, "authorization_endpoint": at("/auth"), "token_endpoint": at("/token"),
                    "jwks_uri": at("/keys"), "end_session_endpoint": at("/logout"), "code_challenge_methods_supported": ["S256"],
                }))
            }
            ("GET", "/keys") => self.key_set.clone().unwrap_or_else(|| {
                let new = self.has_rotated.then(|| &self.others[1]);
                let keys: Vec<_> = self.keys.iter().chain(new).map(Key::public).collect();
                Answer::Json(json!({ "keys": keys }))
            }),
            ("GET", "/auth") => self.authorize(&form(query)),
            ("POST", "/token") => match &self.tokens {
                Some(answer) => answer.clone(),
                None => self.token(request),
            },
            _ => Answer::status(404),
        }
    }

    fn authorize(&mut self, query: &HashMap<String, String>) -> Answer {
        let of = |name: &str| query.get(name).cloned().unwrap_or_default();
        assert_eq!((of("response_type"), of("client_id")), ("code".to_owned(), CLIENT_ID.to_owned()));
        assert_eq!(
            (of("scope"), of("code_challenge_method")),
            ("openid profile".to_owned(), "S256".to_owned())
        );
        let redirect_url = of("redirect_uri");
        assert!(redirect_url.ends_with("/admin/oidc/callback"), "{redirect_url}");
        for secret in ["state", "nonce", "code_challenge"] {
            assert_eq!(of(secret).len(), 43, "{secret}");
        }
        let (code, state) = (format!("code-{}", of("code_number")), of("state"));
        let location = format!("{redirect_url}?code={code}&state={state}");
        let given =
            GivenCode { challenge: of("code_challenge"), nonce: of("nonce"), redirect_url, is_used: false };
        self.codes.insert(code, given);
        Answer::redirect(302, &location)
    }

    fn token(&mut self, request: &Request) -> Answer {
        let refuse = |status, error: &str| {
            let body = json!({"error": error, "error_description": "says the provider"}).to_string();
            Answer::Status(status, Vec::new(), body.into_bytes())
        };
        let basic =
            request.header("authorization").unwrap_or_default().strip_prefix("Basic ").unwrap_or_default();
        let pair = String::from_utf8(BASE64_STANDARD.decode(basic).unwrap()).unwrap();
        let (id, secret) = pair.split_once(':').unwrap_or_default();
        if decoded(id) != CLIENT_ID || decoded(secret) != self.secret {
            return refuse(401, "invalid_client");
        }
        let body = form(std::str::from_utf8(&request.body).unwrap());
        let of = |name: &str| body.get(name).cloned().unwrap_or_default();
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, of("code_verifier").as_bytes()));
        let Some(given) = self.codes.get_mut(&of("code")) else { return refuse(400, "invalid_grant") };
        let is_good = of("grant_type") == "authorization_code"
            && of("redirect_uri") == given.redirect_url
            && challenge == given.challenge
            && !given.is_used;
        if !is_good {
            return refuse(400, "invalid_grant");
        }
        given.is_used = true;
        let nonce = given.nonce.clone();
        Answer::Json(
            json!({"token_type": "Bearer", "access_token": "opaque", "id_token": self.id_token(&nonce)}),
        )
    }

    fn id_token(&self, nonce: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({
            "iss": self.issuer, "aud": CLIENT_ID, "sub": "u-1", "nonce": nonce, "iat": now, "exp": now + 300,
            "preferred_username": "minji", "groups": ["gorani-operators"],
        });
        claims.as_object_mut().unwrap().extend(self.changed.as_object().unwrap().clone());
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        match self.signing {
            Signing::Es256 => self.keys[0].sign(&claims),
            Signing::Rs256 => self.keys[1].sign(&claims),
            Signing::OtherKey => self.others[0].sign(&claims),
            Signing::UnknownKey => self.others[1].sign(&claims),
            Signing::ClientSecret => {
                let key = EncodingKey::from_secret(self.secret.as_bytes());
                jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()
            }
            Signing::Nobody => {
                let part = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
                format!("{}.{}.", part(&json!({"alg": "none", "typ": "JWT"})), part(&claims))
            }
        }
    }
}

/// The fields of a form or a query.
fn form(text: &str) -> HashMap<String, String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

/// Text out of the encoding of forms.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}
