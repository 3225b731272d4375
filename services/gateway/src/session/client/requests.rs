//! Publish, history and presence: what a session asks of the node, and the replies. `docs/protocols/client.md` §8.

use std::{collections::VecDeque, sync::Arc};

use bytes::{Bytes, BytesMut};
use gorani_auth::Operation;
use gorani_broker::{ClientInfo, HistoryPage, HistoryQuery, Position, Publication, PublishOptions};
use gorani_protocol::client::{
    ClientForm, ClientInfoFields, History, HistoryReply, PublicationFields, PublicationList, Publish,
};

use super::{
    ClientSession, ClientState,
    large_reply::{LargeReply, NextStep, ReplyEntries},
    state::PendingRequest,
    subscriptions::SubscribeCommand,
};
use crate::{
    disconnect::{Disconnect, ErrorCode, Unsubscribed},
    format::views::{data_kind, info_view, publication_view, reserve},
    memory::ReplyPermit,
    session::{Action, Actions, MessageKind, Now, Outcome, Ticket, shared::recovery::retention},
};

impl ClientSession {
    pub(super) fn is_connected(&self) -> bool {
        matches!(self.state, ClientState::Connected)
    }

    fn is_subscribed(&self, channel: &str) -> bool {
        self.subscription(channel).is_some()
    }

    /// The client publishes. Its own copy comes back through the broker, like every other.
    pub(super) fn publish(&mut self, id: u32, publish: &Publish<'_>, now: Now, actions: &mut Actions) {
        if self.calls.is_some() && self.asks_about_publish(id, publish, actions) {
            return;
        }
        let channel: &str = &publish.channel;
        let subscription = self.subscription(channel);
        let is_subscribed = subscription.is_some();
        let options = match self.policy.may(Operation::Publish, channel, &self.identity.user, is_subscribed) {
            Ok(options) => PublishOptions { retention: retention(options), ..PublishOptions::default() },
            Err(denial) => return self.refuse_command(id, denial.refused, actions),
        };
        let info = subscription.map(|subscription| subscription.info.clone());
        let publication = Publication {
            data: Bytes::copy_from_slice(&publish.data.data),
            kind: data_kind(publish.data.kind),
            info: Some(info.unwrap_or_else(|| self.identity.info_for(Bytes::new()))),
            time_ms: now.unix_ms,
            ..Publication::default()
        };
        let channel: Arc<str> = channel.into();
        let ticket = self.ticket(PendingRequest::Publish { id });
        actions.push(Action::Publish(ticket, channel, publication, options));
    }

    /// The client reads history.
    pub(super) fn history(&mut self, id: u32, history: &History<'_>, actions: &mut Actions) {
        let channel: &str = &history.channel;
        let is_subscribed = self.is_subscribed(channel);
        let retention = match self.policy.may(Operation::History, channel, &self.identity.user, is_subscribed)
        {
            Ok(options) => retention(options),
            Err(denial) => return self.refuse_command(id, denial.refused, actions),
        };
        let most = self.policy.settings.history_max;
        let query = HistoryQuery {
            // Below 0 means all, which is as much as one read may bring; 0 is the position alone.
            limit: u32::try_from(history.limit).map_or(most, |limit| limit.min(most)),
            since: history.since.as_ref().map(|since| since.offset),
            reverse: history.reverse,
            max_bytes: Some(self.policy.settings.reply_max_bytes as u64),
        };
        let since = history
            .since
            .as_ref()
            .map(|since| Position { offset: since.offset, epoch: (*since.epoch).into() });
        let ticket = self.ticket(PendingRequest::History { id, since });
        actions.push(Action::History(ticket, channel.into(), query, retention));
    }

    /// The client asks for the presence of a channel, or for its counts.
    pub(super) fn presence(&mut self, id: u32, channel: &str, stats: bool, actions: &mut Actions) {
        let own = self.subscription(channel).map(|subscription| &subscription.options);
        if let Err(denial) = self.policy.may_presence(channel, &self.identity.user, own) {
            return self.refuse_command(id, denial.refused, actions);
        }
        let ticket = self.ticket(PendingRequest::Presence { id });
        actions.push(if stats {
            Action::PresenceStats(ticket, channel.into())
        } else {
            Action::Presence(ticket, channel.into())
        });
    }

    /// Answers the command that an outcome belongs to.
    pub(super) fn on_outcome(
        &mut self,
        ticket: Ticket,
        pending: PendingRequest,
        outcome: Outcome,
        now: Now,
        actions: &mut Actions,
    ) {
        match (pending, outcome) {
            (PendingRequest::Enter, Outcome::Entered(outcome)) => self.on_entered(outcome, now, actions),
            (PendingRequest::ConnectSubscribe { channel }, Outcome::Subscribed(outcome)) => {
                self.on_server_subscribed(ticket, channel, outcome, now, actions);
            }
            (PendingRequest::ServerSubscribe { channel }, Outcome::Subscribed(outcome)) => {
                self.on_server_subscribe_outcome(ticket, &channel, outcome, actions);
            }
            (PendingRequest::Subscribe { id, channel, reject }, Outcome::Subscribed(outcome)) => {
                let command = SubscribeCommand { ticket, id, channel: &channel, reject };
                self.on_subscribed(command, outcome, now, actions);
            }
            (PendingRequest::Proxied(request), Outcome::Proxied(outcome)) => {
                self.on_answer(ticket, *request, *outcome, now, actions);
            }
            (PendingRequest::Publish { id }, Outcome::Published(outcome)) => {
                self.answer(id, outcome, actions, |form, _, out| form.reply_publish(id, out));
            }
            (PendingRequest::History { id, since }, Outcome::History(outcome)) => {
                // The permit of a page that is not sent is dropped with the page.
                let (outcome, permit) = match outcome {
                    Ok((page, permit)) if since.is_none_or(|since| page.continues(&since)) => {
                        (Ok(page), permit)
                    }
                    Ok(_) => (Err(ErrorCode::UNRECOVERABLE_POSITION), None),
                    Err(error) => (Err(error), None),
                };
                match (outcome, permit) {
                    (Ok(page), Some(permit)) => self.begin_large_history(id, page, permit),
                    (outcome, _) => {
                        self.answer(id, outcome, actions, |form, page, out| {
                            write_history(form, id, &page, out)
                        });
                    }
                }
            }
            (PendingRequest::Presence { id }, Outcome::Presence(outcome)) => {
                let (outcome, permit) = match outcome {
                    Ok((clients, permit)) => (Ok(clients), permit),
                    Err(error) => (Err(error), None),
                };
                match (outcome, permit) {
                    (Ok(clients), Some(permit)) => {
                        let (form, mut around) = (self.traits.form, BytesMut::new());
                        let views = clients.iter().map(|info| (info.client.as_str(), info_view(info)));
                        let places = form.reply_presence_around(id, views, &mut around);
                        let mut reply = LargeReply::new(form, around, NextStep::Answered);
                        reply.add_list(places, ReplyEntries::Clients(clients.into_iter()), permit);
                        self.large_replies.push_back(reply);
                    }
                    (outcome, _) => {
                        self.answer(id, outcome, actions, |form, clients, out| {
                            write_presence(form, id, &clients, out);
                        });
                    }
                }
            }
            (PendingRequest::Presence { id }, Outcome::PresenceStats(outcome)) => {
                self.answer(id, outcome, actions, |form, (clients, users), out| {
                    let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
                    form.reply_presence_stats(id, count(clients), count(users), out);
                });
            }
            (pending, outcome) => {
                tracing::error!(?pending, ?outcome, "outcome does not fit its request");
                self.close(Disconnect::INTERNAL, actions);
            }
        }
    }

    /// As much of a page as one reply may hold, at least one publication: the client reads on from there.
    fn begin_large_history(&mut self, id: u32, mut page: HistoryPage, permit: ReplyPermit) {
        let most = self.policy.settings.reply_max_bytes;
        let mut bytes = 0;
        let beyond = page.publications.iter().position(|publication| {
            let is_first = bytes == 0;
            bytes += publication.data.len();
            !is_first && bytes > most
        });
        page.publications.truncate(beyond.unwrap_or(usize::MAX));
        let (form, mut around) = (self.traits.form, BytesMut::new());
        let publications = page_views(&page);
        let result = history_reply(&page, &publications);
        let places = form.reply_history_around(id, &result, &mut around);
        let mut reply = LargeReply::new(form, around, NextStep::Answered);
        let list = ReplyEntries::Publications(PublicationList::History, page.publications.into_iter());
        reply.add_list(places, list, permit);
        self.large_replies.push_back(reply);
    }

    /// Writes a piece of the oldest large reply, and sends it once it is whole. False if there is none.
    pub(super) fn write_large_reply(&mut self, now: Now, actions: &mut Actions) -> bool {
        let Some(reply) = self.large_replies.front_mut() else { return false };
        if reply.write_piece()
            && let Some(reply) = self.large_replies.pop_front()
        {
            self.finish_large_reply(reply, now, actions);
        }
        if self.large_replies.is_empty() {
            self.large_replies = VecDeque::new();
        }
        true
    }

    fn finish_large_reply(&mut self, reply: LargeReply, now: Now, actions: &mut Actions) {
        let kind = MessageKind::from(self.traits.form);
        let LargeReply { out, permit, then, .. } = reply;
        match then {
            NextStep::Answered => {
                actions.whole_message(kind, out, permit);
                self.count_success();
            }
            NextStep::Subscribed { ticket, id, channel } => match self.under_way(&channel, ticket) {
                Some(subscription) => {
                    subscription.under_way = None;
                    actions.whole_message(kind, out, permit);
                    actions.release(&channel);
                    self.count_success();
                }
                // The server ended it meanwhile, and said so; the command has its answer all the same.
                None => self.refuse(id, ErrorCode::INTERNAL, actions),
            },
            NextStep::Connected { channels } => {
                if !matches!(self.state, ClientState::Connecting(_)) {
                    return;
                }
                actions.whole_message(kind, out, permit);
                self.connected(now);
                for channel in channels {
                    if self.subscription(&channel).is_some() {
                        self.accept(&channel, actions);
                    } else {
                        // Ended while the reply was written, which still mentions it.
                        self.write_unsubscribed(&channel, Unsubscribed::SERVER, actions);
                    }
                }
            }
        }
    }

    fn answer<T>(
        &mut self,
        id: u32,
        outcome: Result<T, ErrorCode>,
        actions: &mut Actions,
        write: impl FnOnce(ClientForm, T, &mut BytesMut),
    ) {
        match outcome {
            Ok(value) => {
                self.count_success();
                let form = self.traits.form;
                actions.reply(form, |out| write(form, value, out));
            }
            Err(error) => self.refuse(id, error, actions),
        }
    }
}

fn page_views(page: &HistoryPage) -> Vec<PublicationFields<'_>> {
    page.publications.iter().map(|publication| publication_view(publication)).collect()
}

fn history_reply<'p>(page: &'p HistoryPage, publications: &'p [PublicationFields<'p>]) -> HistoryReply<'p> {
    HistoryReply { publications, offset: page.top.offset, epoch: &page.top.epoch }
}

fn write_history(form: ClientForm, id: u32, page: &HistoryPage, out: &mut BytesMut) {
    let publications = page_views(page);
    reserve(&publications, out);
    form.reply_history(id, &history_reply(page, &publications), out);
}

fn write_presence(form: ClientForm, id: u32, clients: &[Arc<ClientInfo>], out: &mut BytesMut) {
    let clients: Vec<(&str, ClientInfoFields<'_>)> =
        clients.iter().map(|info| (info.client.as_str(), info_view(info))).collect();
    form.reply_presence(id, &clients, out);
}
