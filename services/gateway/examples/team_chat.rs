//! A chat for a team: one handler on `/chat` that speaks the subprotocol `my-team-custom`.
//!
//! `cargo run -p gorani --example team_chat`, then in the console of a page of `http://localhost:8080`:
//! `new WebSocket("ws://127.0.0.1:8000/chat?name=ada", ["v10.stomp", "v11.stomp", "my-team-custom"])`.
#![allow(clippy::print_stdout, reason = "it tells its address")]

use std::{collections::HashMap, sync::Arc};

use gorani::{
    Admission, Disconnect, Gorani, HandlerResult, Handshake, Refusal, Registration, SessionHandle,
    WebSocketHandler, settings::Settings,
};
use parking_lot::Mutex;

/// Everybody who is here. Handlers live on several threads, their handles go anywhere.
#[derive(Clone, Default)]
struct Room(Arc<Mutex<HashMap<String, SessionHandle>>>);

impl Room {
    fn say(&self, text: &str) {
        let everybody: Vec<_> = self.0.lock().values().cloned().collect();
        let text = bytestring::ByteString::from(text);
        for session in everybody {
            // Who left a moment ago misses it, and who reads too slowly is on the way out.
            let _ = session.send_text(text.clone());
        }
    }
}

/// One member of the team.
struct ChatMember {
    room: Room,
    name: String,
}

impl ChatMember {
    /// Lets in whoever says a name.
    fn admit(room: &Room, request: &Handshake, admission: &mut Admission) -> Result<Self, Refusal> {
        let name = request.query.split('&').find_map(|pair| pair.strip_prefix("name="));
        let name =
            name.filter(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        let name = name.ok_or_else(|| Refusal::new(401, "say who you are: /chat?name=ada"))?;
        admission.set_principal(name);
        Ok(Self { room: room.clone(), name: name.to_owned() })
    }
}

impl WebSocketHandler for ChatMember {
    fn subprotocols() -> &'static [&'static str] {
        &["my-team-custom"]
    }

    fn opened(&mut self, session: &SessionHandle) -> HandlerResult {
        self.room.0.lock().insert(session.id().to_owned(), session.clone());
        self.room.say(&format!("{} is here", self.name));
        Ok(())
    }

    fn text(&mut self, session: &SessionHandle, text: &str) -> HandlerResult {
        if text == "/leave" {
            session.close(1000, "see you")?;
            return Ok(());
        }
        self.room.say(&format!("{}: {text}", self.name));
        Ok(())
    }

    fn closed(&mut self, session: &SessionHandle, _status: &Disconnect) {
        self.room.0.lock().remove(session.id());
        self.room.say(&format!("{} left", self.name));
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings::load(None)?;
    let room = Room::default();
    let chat = Registration::guarded(move |request, admission| ChatMember::admit(&room, request, admission))
        .name("team-chat")
        .origins(["http://localhost:8080"]);
    let node = Gorani::new(settings).handler("/chat", chat);
    let until_interrupted = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    let started = |address, _| println!("ws://{address}/chat?name=ada");
    actix_rt::System::new().block_on(node.run(until_interrupted, started))?;
    Ok(())
}
