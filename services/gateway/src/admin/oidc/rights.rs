//! The right that the claims of an ID token give.

use serde_json::{Map, Value};

use crate::{
    admin::token::Grant,
    settings::{AdminRole, OidcSettings},
};

/// Bytes of a person's name at most: it stands in the cookie and in every line of the audit log.
const NAME_MAX_BYTES: usize = 64;

/// The name of a person in the audit log.
pub fn name(settings: &OidcSettings, claims: &Map<String, Value>) -> String {
    let named = claim(claims, &settings.name_claim).and_then(Value::as_str).map(shortened);
    let named = named.filter(|name| !name.is_empty());
    named.unwrap_or_else(|| shortened(subject(claims)))
}

/// `sub`: the one name that the provider never gives to somebody else.
pub fn subject(claims: &Map<String, Value>) -> &str {
    claims.get("sub").and_then(Value::as_str).unwrap_or_default()
}

fn shortened(text: &str) -> String {
    let text: String = text.trim().chars().filter(|letter| !letter.is_control()).collect();
    text[..text.floor_char_boundary(NAME_MAX_BYTES)].to_owned()
}

/// The right; none where no value of the claim is in the settings.
pub fn grant(settings: &OidcSettings, claims: &Map<String, Value>) -> Option<Grant> {
    let values = claim(claims, &settings.roles_claim).map(values).unwrap_or_default();
    let mut right: Option<(AdminRole, bool)> = None;
    for own in settings.roles.iter().filter(|own| values.contains(&own.value.as_str())) {
        let (role, contents) = right.unwrap_or_default();
        right = Some((role.max(own.role), contents || own.contents));
    }
    right.map(|(role, contents)| Grant { name: name(settings, claims), role, contents })
}

/// The claim of this name, or the one to which the names between its dots lead.
fn claim<'c>(claims: &'c Map<String, Value>, path: &str) -> Option<&'c Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    claim(claims.get(first)?.as_object()?, rest)
}

/// The values of a claim: a text, a list of texts, or the names of an object, as some providers write roles.
fn values(claim: &Value) -> Vec<&str> {
    match claim {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        Value::Object(object) => object.keys().map(String::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;
    use crate::settings::OidcRoleSettings;

    fn settings(roles_claim: &str) -> OidcSettings {
        let role = |value: &str, role, contents| OidcRoleSettings { value: value.to_owned(), role, contents };
        OidcSettings {
            roles_claim: roles_claim.to_owned(),
            roles: vec![
                role("ops", AdminRole::Operator, false),
                role("staff", AdminRole::Viewer, false),
                role("support", AdminRole::Viewer, true),
            ],
            ..OidcSettings::default()
        }
    }

    fn right(roles_claim: &str, claims: Value) -> Option<(AdminRole, bool)> {
        let Value::Object(claims) = claims else { return None };
        grant(&settings(roles_claim), &claims).map(|grant| (grant.role, grant.contents))
    }

    #[test]
    fn the_highest_role_of_the_values_counts_and_no_value_gives_none() {
        let (viewer, operator) = (AdminRole::Viewer, AdminRole::Operator);
        for (claims, expected) in [
            (json!({"groups": "ops"}), Some((operator, false))),
            (json!({"groups": ["staff", "ops"]}), Some((operator, false))),
            (json!({"groups": ["support", "ops"]}), Some((operator, true))),
            (json!({"groups": ["support", "other"]}), Some((viewer, true))),
            (json!({"groups": {"staff": {"org": 1}}}), Some((viewer, false))),
            (json!({"groups": "ops staff"}), None),
            (json!({"groups": "OPS"}), None),
            (json!({"groups": [["ops"], 1, null]}), None),
            (json!({"groups": []}), None),
            (json!({"groups": null}), None),
            (json!({"groups": true}), None),
            (json!({"roles": ["ops"]}), None),
        ] {
            assert_eq!(right("groups", claims.clone()), expected, "{claims}");
        }
    }

    #[test]
    fn a_claim_is_found_by_its_name_or_by_the_names_between_dots() {
        let inside = json!({"realm_access": {"roles": ["ops"]}});
        assert!(right("realm_access.roles", inside.clone()).is_some());
        assert!(right("realm_access", inside.clone()).is_none());
        assert!(right("realm_access.roles.ops", inside).is_none());
        let named = json!({"https://gorani.test/roles": ["ops"]});
        assert!(right("https://gorani.test/roles", named).is_some());
        let both = json!({"a.b": "ops", "a": {"b": "staff"}});
        assert_eq!(right("a.b", both), Some((AdminRole::Operator, false)));
    }

    #[test]
    fn a_name_is_short_printable_and_never_missing() {
        let named = |claims: Value| name(&settings("groups"), claims.as_object().unwrap());
        assert_eq!(named(json!({"preferred_username": "minji", "sub": "u-1"})), "minji");
        assert_eq!(named(json!({"preferred_username": " \u{7}\n", "sub": "u-1"})), "u-1");
        assert_eq!(named(json!({"preferred_username": 7, "sub": "u-1"})), "u-1");
        assert_eq!(named(json!({"preferred_username": "고".repeat(100), "sub": "u-1"})).len(), 63);
    }
}
