//! Large replies: history, presence and recoveries of megabytes, written a piece at a time. A piece is a step of the
//! session ([`crate::session::shared::input_budget`]), so that the transport looks at the clock between two of them. The
//! reply is the session's until it is whole, and is sent as one message: what others send meanwhile comes before it.
//! Decision record 0027.

use std::{collections::VecDeque, sync::Arc, vec};

use bytes::BytesMut;
use gorani_broker::{ClientInfo, Publication};
use gorani_protocol::client::{ClientForm, PublicationList};

use crate::{
    format::views::{AROUND_BYTES, info_view, publication_view},
    memory::ReplyPermit,
    session::{Subscribed, Ticket},
};

/// Bytes of a piece, and at least one entry: a fraction of a millisecond.
const PIECE_BYTES: usize = 64 * 1024;

/// A step of the session once a reply is written.
pub(super) enum NextStep {
    /// A command has its answer.
    Answered,
    /// A subscription begins.
    Subscribed { ticket: Ticket, id: u32, channel: Arc<str> },
    /// The connection begins, with its subscriptions.
    Connected { channels: Vec<Arc<str>> },
}

/// Entries of a list of the reply.
pub(super) enum ReplyEntries {
    Publications(PublicationList, vec::IntoIter<Arc<Publication>>),
    Clients(vec::IntoIter<Arc<ClientInfo>>),
}

impl ReplyEntries {
    /// Bytes that they take in the reply, about.
    fn bytes(&self) -> usize {
        match self {
            Self::Publications(_, publications) => {
                publications.as_slice().iter().map(|publication| publication.data.len() + AROUND_BYTES).sum()
            }
            Self::Clients(clients) => {
                let size = |info: &Arc<ClientInfo>| info.connection_info.len() + info.channel_info.len();
                clients.as_slice().iter().map(|info| size(info) + AROUND_BYTES).sum()
            }
        }
    }

    /// Writes the next entry. False if there is none.
    fn write_next(&mut self, form: ClientForm, is_first: bool, out: &mut BytesMut) -> bool {
        match self {
            Self::Publications(list, publications) => {
                let Some(publication) = publications.next() else { return false };
                form.write_listed_publication(*list, is_first, &publication_view(&publication), out);
            }
            Self::Clients(clients) => {
                let Some(info) = clients.next() else { return false };
                form.write_listed_client(is_first, &info.client, &info_view(&info), out);
            }
        }
        true
    }
}

/// A reply that is being written.
pub(super) struct LargeReply {
    form: ClientForm,
    /// The reply with empty lists, as far as it is not written.
    around: BytesMut,
    /// Each list, and how many bytes of `around` come before it and after the one before.
    lists: VecDeque<(usize, ReplyEntries)>,
    /// Bytes of the reply when it is whole, about.
    bytes: usize,
    pub(super) out: BytesMut,
    pub(super) permit: Option<ReplyPermit>,
    pub(super) then: NextStep,
}

impl LargeReply {
    /// A reply of which the lists are missing.
    pub(super) fn new(form: ClientForm, around: BytesMut, then: NextStep) -> Self {
        let bytes = around.len();
        Self { form, around, lists: VecDeque::new(), bytes, out: BytesMut::new(), permit: None, then }
    }

    /// The only list: the publications of a history, or the clients of a presence.
    pub(super) fn add_list(&mut self, places: Vec<usize>, list: ReplyEntries, permit: ReplyPermit) {
        self.add(places, [list]);
        ReplyPermit::join(&mut self.permit, Some(permit));
    }

    /// The publications that each subscription recovered, without what excludes this client.
    pub(super) fn add_recovered(
        &mut self,
        places: Vec<usize>,
        subscribed: impl IntoIterator<Item = Subscribed>,
        client: &str,
    ) {
        let mut lists = Vec::with_capacity(places.len());
        for Subscribed { mut publications, permit, .. } in subscribed {
            publications.retain(|publication| publication.is_for(client));
            let publications = publications.into_iter();
            lists.push(ReplyEntries::Publications(PublicationList::Recovered, publications));
            ReplyPermit::join(&mut self.permit, permit);
        }
        self.add(places, lists);
    }

    fn add(&mut self, places: Vec<usize>, lists: impl IntoIterator<Item = ReplyEntries>) {
        let mut before = 0;
        for (place, list) in places.into_iter().zip(lists) {
            self.bytes += list.bytes();
            self.lists.push_back((place - before, list));
            before = place;
        }
    }

    /// Writes a piece. True once the reply is whole.
    pub(super) fn write_piece(&mut self) -> bool {
        if self.out.capacity() == 0 {
            // At once: growing by doubling would hold up to twice as much. Pages of it are touched as they are written.
            self.out.reserve(self.bytes);
        }
        let until = self.out.len() + PIECE_BYTES;
        while let Some((before, list)) = self.lists.front_mut() {
            if *before > 0 {
                self.out.extend_from_slice(&self.around.split_to(std::mem::take(before)));
            }
            // Of a list in JSON; in protobuf an entry stands for itself.
            let mut is_first = self.out.last().is_some_and(|last| matches!(last, b'[' | b'{'));
            while list.write_next(self.form, is_first, &mut self.out) {
                is_first = false;
                if self.out.len() >= until {
                    return false;
                }
            }
            self.lists.pop_front();
        }
        self.out.extend_from_slice(&self.around);
        true
    }
}
