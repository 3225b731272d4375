//! Reads of history for a worker's sessions, bounded by what one session may read at a time and by what one reply may hold.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use gorani_broker::{BrokerError, HistoryPage, HistoryQuery, Publication, Retention};

use crate::{
    disconnect::ErrorCode,
    format::views::reply_bytes,
    hub::{
        Hub,
        history_reads::{HistoryRead, HistoryReads},
        read_budget::{ReadSource, ReadTurns, SessionReadTurn},
        registry::SessionKey,
    },
    memory::{LARGE_REPLY_BYTES, MemoryBudget, ReplyPermit},
};

/// Over a transport of text, a reply holds this part of what others hold: all of it becomes a JSON string once more.
const TEXT_ONLY_DIVISOR: usize = 16;

/// Reads for a worker's sessions.
pub struct ClientReads {
    hub: Rc<RefCell<Hub>>,
    reads: Arc<HistoryReads>,
    turns: Rc<ReadTurns>,
    memory: Arc<MemoryBudget>,
}

impl ClientReads {
    /// No read yet.
    pub(super) fn new(
        hub: Rc<RefCell<Hub>>,
        reads: Arc<HistoryReads>,
        memory: Arc<MemoryBudget>,
    ) -> Rc<Self> {
        Rc::new(Self { hub, reads, turns: Rc::default(), memory })
    }

    /// Waits until another heavy read of the session may begin.
    pub async fn turn(&self, key: SessionKey) -> SessionReadTurn {
        self.turns.clone().wait(key, self.reads.budget().per_connection()).await
    }

    /// Reads history for a session, after its reads before. Who asks for the same at the same time shares the read.
    ///
    /// # Errors
    /// As [`HistoryReads::read`]; [`ErrorCode::TOO_MANY_REQUESTS`] while there is no memory for a large reply.
    pub async fn history(
        self: Rc<Self>,
        key: SessionKey,
        channel: Arc<str>,
        query: HistoryQuery,
        retention: Retention,
    ) -> Result<(HistoryPage, Option<ReplyPermit>), ErrorCode> {
        let most_bytes =
            query.max_bytes.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        let most_bytes = self.reply_max_bytes(key, most_bytes);
        let query = HistoryQuery { max_bytes: Some(most_bytes as u64), ..query };
        let _turn = self.turn(key).await;
        let read = HistoryRead { channel, query, source: ReadSource::Client };
        let page = self.reads.read(read, retention, self.reads.now()).await?;
        let mut page = Arc::unwrap_or_clone(page);
        // The first may be larger than that by itself; the client reads on from where the page ends.
        let mut bytes = 0_usize;
        let fitting = page.publications.iter().take_while(|publication| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(reply_bytes(publication));
            is_first || bytes <= most_bytes
        });
        let fitting = fitting.count();
        page.truncated |= fitting < page.publications.len();
        page.publications.truncate(fitting);
        let permit = self.reserve_reply(size_of(&page.publications))?;
        Ok((page, permit))
    }

    /// Of `most_bytes` that a reply may hold, what one to this session may: to write it takes at most a few milliseconds,
    /// however its transport writes it.
    pub(super) fn reply_max_bytes(&self, key: SessionKey, most_bytes: usize) -> usize {
        let is_text_only = |key| {
            self.hub.borrow().registry().get(key).is_some_and(|session| session.encoding.is_text_only())
        };
        if is_text_only(key) { most_bytes / TEXT_ONLY_DIVISOR } else { most_bytes }
    }

    /// A permit for a reply of so many bytes; a small one needs none. While there is none the error is temporary.
    pub fn reserve_reply(&self, bytes: usize) -> Result<Option<ReplyPermit>, ErrorCode> {
        if bytes < LARGE_REPLY_BYTES {
            return Ok(None);
        }
        self.memory.try_reply(bytes).map(Some).ok_or(ErrorCode::TOO_MANY_REQUESTS)
    }
}

/// Bytes of publications.
pub fn size_of(publications: &[Arc<Publication>]) -> usize {
    publications.iter().map(|publication| publication.data.len()).sum()
}

impl From<BrokerError> for ErrorCode {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::NoHistory => Self::NOT_AVAILABLE,
            // A client that gave up here would stay away; one that is told to wait comes back when the queue is shorter.
            BrokerError::Limit(_) => Self::TOO_MANY_REQUESTS,
            BrokerError::BadCursor => Self::BAD_REQUEST,
            BrokerError::Unavailable(_) => Self::UNAVAILABLE,
            BrokerError::UnknownOutcome(_) => Self::UNKNOWN_OUTCOME,
        }
    }
}
