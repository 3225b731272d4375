//! `/broadcast`: what one session sends, all of them get, itself included.

use std::{collections::HashMap, sync::Arc};

use bytestring::ByteString;
use parking_lot::Mutex;

use crate::{
    disconnect::Disconnect,
    endpoints::embedder::Registration,
    session::handler::{HandlerResult, SessionHandle, WebSocketHandler},
    sockjs::options::SockJs,
};

/// Where it is served.
pub const BROADCAST_PATH: &str = "/broadcast";

/// All sessions by id, on whatever worker. Bounded by the node's places.
type BroadcastRoom = Arc<Mutex<HashMap<String, SessionHandle>>>;

/// One session of the room.
pub struct Broadcast {
    room: BroadcastRoom,
}

impl Broadcast {
    /// As it is served.
    pub fn registration(sockjs: SockJs) -> Registration<Self> {
        let room = BroadcastRoom::default();
        Registration::new(move || Self { room: room.clone() }).name("broadcast").sockjs(sockjs)
    }
}

impl WebSocketHandler for Broadcast {
    fn origins() -> &'static [&'static str] {
        &["*"]
    }

    fn opened(&mut self, session: &SessionHandle) -> HandlerResult {
        self.room.lock().insert(session.id().to_owned(), session.clone());
        Ok(())
    }

    fn text(&mut self, _session: &SessionHandle, text: &str) -> HandlerResult {
        let text = ByteString::from(text);
        for member in self.room.lock().values() {
            // Who is too slow or gone is being closed.
            let _ = member.send_text(text.clone());
        }
        Ok(())
    }

    fn closed(&mut self, session: &SessionHandle, _status: &Disconnect) {
        self.room.lock().remove(session.id());
    }
}
