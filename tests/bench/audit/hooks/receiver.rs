//! The backend that is told: a recorder that can be made to fail.

use std::sync::{Arc, Mutex};

use gorani_tests::backend::{
    Answer, Request,
    recorder::{Recorded, Recorder},
};

/// The behaviour of the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// It takes everything.
    Good,
    /// 503.
    Down,
    /// 400 to every batch with the first `connected` of the user [`POISONED`].
    Poisoned,
    /// It takes a batch, and does not answer before it behaves otherwise.
    Silent,
}

/// The user whose first event is refused where the backend is [`Behaviour::Poisoned`].
pub(super) const POISONED: &str = "user-1";

/// The event that is refused, once it was seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Poison {
    /// Its id.
    pub(super) id: String,
    /// Its client, whose events have a hole for that.
    pub(super) client: String,
}

/// The backend.
pub(super) struct Receiver {
    recorder: Recorder,
    poison: Arc<Mutex<Option<Poison>>>,
}

impl Receiver {
    pub(super) fn start() -> Self {
        Self { recorder: Recorder::start(), poison: Arc::default() }
    }

    pub(super) fn url(&self) -> String {
        self.recorder.url()
    }

    pub(super) fn behave(&self, behaviour: Behaviour) {
        let poison = Arc::clone(&self.poison);
        self.recorder.answer_by(None, move |request| match behaviour {
            Behaviour::Down => Answer::status(503),
            Behaviour::Poisoned if is_poisoned(request, &poison) => Answer::status(400),
            Behaviour::Silent => Answer::Held(Box::new(Answer::status(200))),
            Behaviour::Good | Behaviour::Poisoned => Answer::status(200),
        });
        self.recorder.backend().release();
    }

    /// Looks at what it knows.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Recorded) -> T) -> T {
        self.recorder.look(look)
    }

    /// The event that it refused.
    pub(super) fn poison(&self) -> Option<Poison> {
        self.poison.lock().unwrap().clone()
    }
}

/// True if the poisoned event is in this batch.
fn is_poisoned(request: &Request, poison: &Mutex<Option<Poison>>) -> bool {
    let batch = request.json();
    let events = batch["events"].as_array().into_iter().flatten();
    let mut poison = poison.lock().unwrap();
    if poison.is_none() {
        let found = events.clone().find(|event| event["type"] == "connected" && event["user"] == POISONED);
        let text =
            |name: &str| found.and_then(|event| event[name].as_str()).map(str::to_owned).unwrap_or_default();
        *poison = found.map(|_| Poison { id: text("id"), client: text("client") });
    }
    poison.as_ref().is_some_and(|poison| events.clone().any(|event| event["id"] == *poison.id))
}
