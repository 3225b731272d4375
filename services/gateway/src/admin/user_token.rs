//! The token with which an operator tries what a user gets: the page connects with it as any client does. It is good for five minutes.
//! `docs/admin.md`; decision record 70.

use std::time::Duration;

use gorani_auth::{ConnectionTokenRequest, SignError};
use serde_json::json;

use super::{access::AdminCaller, answer::AdminAnswer, error::AdminError, state::Admin};
use crate::{clock::unix_ms, settings::AdminRole};

/// Time for which the token is good, and with it the connection.
const GOOD_FOR: Duration = Duration::from_secs(300);
/// The endpoint of the client protocol.
const ENDPOINT: &str = "connection/websocket";

/// Makes a token for this user. With `dry_run` it only says for whom.
///
/// # Errors
/// The caller may not see what users get, or the node signs no tokens.
pub fn answer(
    admin: &Admin,
    caller: &AdminCaller,
    user: Option<&str>,
    dry_run: bool,
) -> Result<AdminAnswer, AdminError> {
    if caller.grant.role != AdminRole::Operator || !caller.grant.contents {
        return Err(AdminError::Forbidden(
            "this needs the role operator and the right contents: who connects as a user sees what the user gets",
        ));
    }
    let user = user.filter(|user| !user.is_empty());
    let user = user.ok_or_else(|| AdminError::BadRequest("user: is missing".to_owned()))?;
    if matches!(admin.settings.address(), Ok(Some(_))) {
        return Err(AdminError::ClientsElsewhere);
    }
    let running = admin.node.live.running();
    let now = unix_ms() / 1000;
    let request = ConnectionTokenRequest {
        user: user.to_owned(),
        ttl: Some(GOOD_FOR),
        channels: Vec::new(),
        info: None,
        audience: running.token.audience.clone(),
        issuer: running.token.issuer.clone(),
    };
    let token = request.sign(&running.token.hmac_secret, now).map_err(|error| match error {
        SignError::NoSecret => AdminError::NoTokenSecret,
        SignError::TooLong => AdminError::BadRequest(format!("user: {error}")),
        SignError::NoChannel | SignError::Signing => AdminError::Internal,
    })?;
    let expires_at = 1000 * (now + GOOD_FOR.as_secs());
    if dry_run {
        return Ok(AdminAnswer::of(json!({"user": user, "expires_at": expires_at})));
    }
    // Relative to the page, which may stand below another path in front of a proxy.
    let endpoint = format!("{}{ENDPOINT}", "../".repeat(admin.settings.path.matches('/').count()));
    let result = json!({"user": user, "expires_at": expires_at, "token": token, "endpoint": endpoint});
    Ok(AdminAnswer::of(result))
}
