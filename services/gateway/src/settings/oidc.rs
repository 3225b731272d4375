//! Settings of logins to the admin page with an identity provider (OpenID Connect). `docs/admin.md`; decision record 69.

use std::{fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::{error::SettingsError, role::AdminRole};

/// Path below that of the admin page to which the provider sends browsers back.
pub const CALLBACK: &str = "/oidc/callback";
/// Entries of `admin.oidc.roles` at most.
const ROLES_MAX: usize = 100;
/// Bytes of a text of these settings at most.
const TEXT_MAX_BYTES: usize = 1024;
/// Bytes of the provider's name at most: it stands on a button.
const NAME_MAX_BYTES: usize = 64;
/// Scopes at most.
const SCOPES_MAX: usize = 20;
/// The shortest and the longest time of a request to the provider.
const TIMEOUT_BOUNDS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// An identity provider that people log in with.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OidcSettings {
    /// The provider's issuer, as its discovery document names it; empty: nobody logs in with one.
    pub issuer: String,
    /// The id under which the provider knows this cluster.
    pub client_id: String,
    /// The secret of this client.
    pub client_secret: String,
    /// The provider's name, for the button of the login.
    pub name: String,
    /// The address to which the provider sends browsers back; empty: `<admin.path>/oidc/callback` of the host that the browser asked.
    pub redirect_url: String,
    /// Scopes that are asked for; `openid` is one of them.
    pub scopes: Vec<String>,
    /// The claim that names a person in the audit log; where it is missing, `sub`.
    pub name_claim: String,
    /// The claim whose values give roles: a name, or names with dots between them for a claim in a claim.
    pub roles_claim: String,
    /// Certificates in PEM that sign the provider's; empty: those of the system.
    pub ca_pem_file: PathBuf,
    /// Time for one request to the provider.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// The rights that values of the claim give.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<OidcRoleSettings>,
}

impl Default for OidcSettings {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            client_id: String::new(),
            client_secret: String::new(),
            name: "single sign-on".to_owned(),
            redirect_url: String::new(),
            scopes: vec!["openid".to_owned(), "profile".to_owned()],
            name_claim: "preferred_username".to_owned(),
            roles_claim: "groups".to_owned(),
            ca_pem_file: PathBuf::new(),
            timeout: Duration::from_secs(5),
            roles: Vec::new(),
        }
    }
}

/// Without the secret.
impl fmt::Debug for OidcSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OidcSettings")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .field("client_secret", if self.client_secret.is_empty() { &"" } else { &"***" })
            .field("name", &self.name)
            .field("redirect_url", &self.redirect_url)
            .field("scopes", &self.scopes)
            .field("name_claim", &self.name_claim)
            .field("roles_claim", &self.roles_claim)
            .field("ca_pem_file", &self.ca_pem_file)
            .field("timeout", &self.timeout)
            .field("roles", &self.roles)
            .finish()
    }
}

/// The right that a value of the claim gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcRoleSettings {
    /// A value of the claim.
    pub value: String,
    /// `viewer` or `operator`. Of several the highest counts.
    #[serde(default)]
    pub role: AdminRole,
    /// They see payloads, connection info and claims of tokens too.
    #[serde(default)]
    pub contents: bool,
}

impl OidcSettings {
    /// True if people log in with an identity provider.
    pub fn is_on(&self) -> bool {
        !self.issuer.is_empty()
    }

    /// # Errors
    /// The first thing that is wrong.
    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        let problem = |key, text: &str| Err(SettingsError::value(key, text));
        if !self.is_on() {
            return match self.client_id.is_empty() && self.client_secret.is_empty() && self.roles.is_empty() {
                true => Ok(()),
                false => {
                    problem("admin.oidc.issuer", "is missing, and other settings of admin.oidc are there")
                }
            };
        }
        if secure_url(&self.issuer).is_none() {
            return problem(
                "admin.oidc.issuer",
                "must be a URL that begins with https:// (http:// on a loopback address only), without query and fragment",
            );
        }
        if self.client_id.is_empty() || self.client_id.len() > TEXT_MAX_BYTES {
            return problem("admin.oidc.client_id", "is missing, or has more than 1024 bytes");
        }
        if self.client_secret.is_empty() || self.client_secret.len() > TEXT_MAX_BYTES {
            return problem("admin.oidc.client_secret", "is missing, or has more than 1024 bytes");
        }
        if self.name.is_empty() || self.name.len() > NAME_MAX_BYTES || self.name.contains(char::is_control) {
            return problem("admin.oidc.name", "must be printable text of 1 to 64 bytes");
        }
        let leads_back = |url: Url| url.path().ends_with(CALLBACK);
        if !self.redirect_url.is_empty() && !secure_url(&self.redirect_url).is_some_and(leads_back) {
            return problem(
                "admin.oidc.redirect_url",
                "must be a URL that begins with https:// (http:// on a loopback address only) and ends with /oidc/callback",
            );
        }
        let is_scope = |scope: &String| {
            let is_part = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
            (1..=TEXT_MAX_BYTES).contains(&scope.len()) && scope.bytes().all(is_part)
        };
        if self.scopes.len() > SCOPES_MAX || !self.scopes.iter().all(is_scope) {
            return problem("admin.oidc.scopes", "must be at most 20 words of printable ASCII");
        }
        if !self.scopes.iter().any(|scope| scope == "openid") {
            return problem("admin.oidc.scopes", "must hold openid: without it there is no ID token");
        }
        for (key, claim) in
            [("admin.oidc.name_claim", &self.name_claim), ("admin.oidc.roles_claim", &self.roles_claim)]
        {
            if claim.is_empty() || claim.len() > TEXT_MAX_BYTES {
                return problem(key, "must be the name of a claim");
            }
        }
        let (shortest, longest) = TIMEOUT_BOUNDS;
        if self.timeout < shortest || self.timeout > longest {
            return problem("admin.oidc.timeout", "must be between 100ms and 30s");
        }
        self.validate_roles()
    }

    fn validate_roles(&self) -> Result<(), SettingsError> {
        let problem = |text: &str| Err(SettingsError::value("admin.oidc.roles", text));
        if self.roles.is_empty() {
            return problem("nobody could get in: name a value of the claim and its role");
        }
        if self.roles.len() > ROLES_MAX {
            return problem("must have at most 100 entries");
        }
        for (index, OidcRoleSettings { value, .. }) in self.roles.iter().enumerate() {
            if value.is_empty() || value.len() > TEXT_MAX_BYTES {
                return problem("value: must have 1 to 1024 bytes");
            }
            if self.roles.iter().take(index).any(|other| other.value == *value) {
                return problem("each value must occur once");
            }
        }
        Ok(())
    }
}

/// True for a URL at which nobody on the way can answer in the place of its host.
pub fn is_secure(url: &Url) -> bool {
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return false,
    };
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    (url.scheme() == "https" || url.scheme() == "http" && is_loopback) && !has_credentials
}

/// Reads a URL of these settings.
fn secure_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|_| text.len() <= TEXT_MAX_BYTES)?;
    (is_secure(&url) && url.query().is_none() && url.fragment().is_none()).then_some(url)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_url_is_secure_or_of_the_machine_itself() {
        for url in [
            "https://id.test",
            "https://id.test/realms/a/",
            "http://127.0.0.1:1/x",
            "http://localhost",
            "http://[::1]:9",
        ] {
            assert!(secure_url(url).is_some(), "{url}");
        }
        for url in [
            "",
            "id.test",
            "http://id.test",
            "http://localhost.evil.test",
            "https://id.test?a",
            "https://id.test#a",
            "https://user@id.test",
            "file:///etc/passwd",
            "javascript:alert(1)",
        ] {
            assert!(secure_url(url).is_none(), "{url}");
        }
    }

    #[test]
    fn settings_that_let_nobody_in_or_make_no_sense_are_refused_by_name() {
        let role = OidcRoleSettings { value: "ops".to_owned(), role: AdminRole::Operator, contents: false };
        let good = OidcSettings {
            issuer: "https://id.test".to_owned(),
            client_id: "gorani".to_owned(),
            client_secret: "secret".to_owned(),
            roles: vec![role.clone()],
            ..OidcSettings::default()
        };
        assert!(good.validate().is_ok() && OidcSettings::default().validate().is_ok());
        let with = |change: fn(&mut OidcSettings)| {
            let mut settings = good.clone();
            change(&mut settings);
            settings
        };
        for (settings, key) in [
            (with(|own| own.issuer.clear()), "admin.oidc.issuer"),
            (with(|own| own.issuer = "http://id.test".to_owned()), "admin.oidc.issuer"),
            (with(|own| own.client_id.clear()), "admin.oidc.client_id"),
            (with(|own| own.client_secret.clear()), "admin.oidc.client_secret"),
            (with(|own| own.name.clear()), "admin.oidc.name"),
            (with(|own| own.redirect_url = "/callback".to_owned()), "admin.oidc.redirect_url"),
            (with(|own| own.scopes = vec!["profile".to_owned()]), "admin.oidc.scopes"),
            (with(|own| own.scopes.push("a b".to_owned())), "admin.oidc.scopes"),
            (with(|own| own.name_claim.clear()), "admin.oidc.name_claim"),
            (with(|own| own.roles_claim.clear()), "admin.oidc.roles_claim"),
            (with(|own| own.timeout = Duration::from_secs(31)), "admin.oidc.timeout"),
            (with(|own| own.roles.clear()), "admin.oidc.roles"),
            (with(|own| own.roles.extend(own.roles.clone())), "admin.oidc.roles"),
        ] {
            let error = settings.validate().unwrap_err().to_string();
            assert!(error.contains(key), "{key}: {error}");
        }
        assert!(
            !format!("{:?}", with(|own| own.client_secret = "hidden-text".to_owned()))
                .contains("hidden-text")
        );
    }
}
