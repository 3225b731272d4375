//! The two forms of the client protocol on the wire, behind one set of names: a session and the encoder choose once, and write
//! without asking again. Between [`super::reply`], [`super::push`] and [`super::protobuf`]; `docs/protocols/client.md` §14.

use bytes::BytesMut;

use super::{
    ClientCommand, ClientInfoFields, ConnectResult, DecodeError, HistoryReply, JSON_DEPTH, Malformed,
    PublicationFields, SubscribePush, SubscribeResult, decode, protobuf, push, reply,
};

/// The form of a client's commands, and of the replies and pushes to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ClientForm {
    /// JSON objects, separated by newlines; text.
    #[default]
    Json,
    /// Protobuf messages, each after its length; binary.
    Protobuf,
}

use ClientForm::{Json, Protobuf};

/// A list of publications in a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicationList {
    /// The publications that a subscription recovered.
    Recovered,
    /// A page of history.
    History,
}

/// Reading.
impl ClientForm {
    /// Its name in logs and in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Json => "json",
            Protobuf => "protobuf",
        }
    }

    /// Cuts a frame into messages, each a command. Nothing is allocated for what a length promises.
    #[must_use]
    pub const fn messages(self, frame: &[u8]) -> FrameMessages<'_> {
        FrameMessages { form: self, rest: frame }
    }

    /// Reads one command from one message.
    ///
    /// # Errors
    /// As [`decode`].
    pub fn decode(self, message: &[u8]) -> Result<ClientCommand<'_>, DecodeError> {
        match self {
            Json => decode(message, JSON_DEPTH),
            Protobuf => protobuf::decode(message),
        }
    }
}

/// The messages of a frame. After an error there are no more.
#[derive(Debug, Clone)]
pub struct FrameMessages<'a> {
    form: ClientForm,
    rest: &'a [u8],
}

impl<'a> FrameMessages<'a> {
    /// The next line that holds more than whitespace.
    fn next_line(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = memchr::memchr(b'\n', self.rest).unwrap_or(self.rest.len());
            let (line, rest) = self.rest.split_at_checked(end)?;
            self.rest = rest.get(1..).unwrap_or_default();
            if !line.trim_ascii().is_empty() {
                return Some(line);
            }
        }
        None
    }

    fn next_delimited(&mut self) -> Option<Result<&'a [u8], Malformed>> {
        if self.rest.is_empty() {
            return None;
        }
        match protobuf::first_message(self.rest, self.rest.len()) {
            Ok(Some((message, rest))) => {
                self.rest = rest;
                Some(Ok(message))
            }
            // A frame that ends inside a message is no better than one whose lengths are none.
            Ok(None) | Err(_) => {
                self.rest = &[];
                Some(Err(Malformed::Protobuf))
            }
        }
    }
}

impl<'a> Iterator for FrameMessages<'a> {
    type Item = Result<&'a [u8], Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.form {
            Json => self.next_line().map(Ok),
            Protobuf => self.next_delimited(),
        }
    }
}

/// Writing: each appends one message. Those of one frame stand [`ClientForm::separator`] apart.
impl ClientForm {
    /// The bytes between two messages of a frame.
    #[must_use]
    pub const fn separator(self) -> &'static [u8] {
        match self {
            Json => b"\n",
            Protobuf => b"",
        }
    }

    /// The server's ping.
    #[must_use]
    pub const fn ping(self) -> &'static [u8] {
        match self {
            Json => push::PING,
            Protobuf => protobuf::PING,
        }
    }

    /// True for a client's pong, as SDKs write it. One that is written in another way is seen when it is decoded.
    #[must_use]
    pub fn is_pong(self, message: &[u8]) -> bool {
        match self {
            Json => message.trim_ascii() == b"{}",
            Protobuf => message.is_empty(),
        }
    }

    /// The answer to connect.
    pub fn reply_connect(self, id: u32, result: &ConnectResult<'_>, out: &mut BytesMut) {
        match self {
            Json => reply::reply_connect(id, result, out),
            Protobuf => protobuf::reply::reply_connect(id, result, out),
        }
    }

    /// As [`Self::reply_connect`], without the publications of each subscription: where they belong, in the order of `subs`.
    pub fn reply_connect_around(self, id: u32, result: &ConnectResult<'_>, out: &mut BytesMut) -> Vec<usize> {
        match self {
            Json => reply::reply_connect_around(id, result, out),
            Protobuf => protobuf::reply::reply_connect_around(id, result, out),
        }
    }

    /// The answer to subscribe.
    pub fn reply_subscribe(self, id: u32, result: &SubscribeResult<'_>, out: &mut BytesMut) {
        match self {
            Json => reply::reply_subscribe(id, result, out),
            Protobuf => protobuf::reply::reply_subscribe(id, result, out),
        }
    }

    /// As [`Self::reply_subscribe`], without the publications: where they belong.
    pub fn reply_subscribe_around(
        self,
        id: u32,
        result: &SubscribeResult<'_>,
        out: &mut BytesMut,
    ) -> Vec<usize> {
        match self {
            Json => reply::reply_subscribe_around(id, result, out),
            Protobuf => protobuf::reply::reply_subscribe_around(id, result, out),
        }
    }

    /// The answer to unsubscribe.
    pub fn reply_unsubscribe(self, id: u32, out: &mut BytesMut) {
        match self {
            Json => reply::reply_empty(id, "unsubscribe", out),
            Protobuf => protobuf::reply::reply_unsubscribe(id, out),
        }
    }

    /// The answer to publish.
    pub fn reply_publish(self, id: u32, out: &mut BytesMut) {
        match self {
            Json => reply::reply_empty(id, "publish", out),
            Protobuf => protobuf::reply::reply_publish(id, out),
        }
    }

    /// The answer to history.
    pub fn reply_history(self, id: u32, result: &HistoryReply<'_>, out: &mut BytesMut) {
        match self {
            Json => reply::reply_history(id, result, out),
            Protobuf => protobuf::reply::reply_history(id, result, out),
        }
    }

    /// As [`Self::reply_history`], without the publications: where they belong.
    pub fn reply_history_around(self, id: u32, result: &HistoryReply<'_>, out: &mut BytesMut) -> Vec<usize> {
        match self {
            Json => reply::reply_history_around(id, result, out),
            Protobuf => protobuf::reply::reply_history_around(id, result, out),
        }
    }

    /// The answer to presence; client ids unique.
    pub fn reply_presence(self, id: u32, clients: &[(&str, ClientInfoFields<'_>)], out: &mut BytesMut) {
        match self {
            Json => reply::reply_presence(id, clients, out),
            Protobuf => protobuf::reply::reply_presence(id, clients.iter().copied(), out),
        }
    }

    /// As [`Self::reply_presence`], without the clients: where they belong.
    pub fn reply_presence_around<'c>(
        self,
        id: u32,
        clients: impl Iterator<Item = (&'c str, ClientInfoFields<'c>)> + Clone,
        out: &mut BytesMut,
    ) -> Vec<usize> {
        match self {
            Json => reply::reply_presence_around(id, out),
            Protobuf => protobuf::reply::reply_presence_around(id, clients, out),
        }
    }

    /// The answer to presence_stats.
    pub fn reply_presence_stats(self, id: u32, num_clients: u32, num_users: u32, out: &mut BytesMut) {
        match self {
            Json => reply::reply_presence_stats(id, num_clients, num_users, out),
            Protobuf => protobuf::reply::reply_presence_stats(id, num_clients, num_users, out),
        }
    }

    /// The answer to rpc; without data where there is none. In the JSON form the data is JSON.
    pub fn reply_rpc(self, id: u32, data: &[u8], out: &mut BytesMut) {
        match self {
            Json => reply::reply_rpc(id, data, out),
            Protobuf => protobuf::reply::reply_rpc(id, data, out),
        }
    }

    /// The answer to refresh; `ttl` in seconds.
    pub fn reply_refresh(
        self,
        id: u32,
        client: &str,
        version: &str,
        expires: bool,
        ttl: u32,
        out: &mut BytesMut,
    ) {
        match self {
            Json => reply::reply_refresh(id, client, version, expires, ttl, out),
            Protobuf => protobuf::reply::reply_refresh(id, client, version, expires, ttl, out),
        }
    }

    /// The answer to sub_refresh; `ttl` in seconds.
    pub fn reply_sub_refresh(self, id: u32, expires: bool, ttl: u32, out: &mut BytesMut) {
        match self {
            Json => reply::reply_sub_refresh(id, expires, ttl, out),
            Protobuf => protobuf::reply::reply_sub_refresh(id, expires, ttl, out),
        }
    }

    /// The answer to a command that failed. A temporary error tells the client to try again.
    pub fn reply_error(self, id: u32, code: u32, message: &str, temporary: bool, out: &mut BytesMut) {
        match self {
            Json => reply::reply_error(id, code, message, temporary, out),
            Protobuf => protobuf::reply::reply_error(id, code, message, temporary, out),
        }
    }

    /// An entry of a list that was left out of its reply.
    pub fn write_listed_publication(
        self,
        list: PublicationList,
        is_first: bool,
        publication: &PublicationFields<'_>,
        out: &mut BytesMut,
    ) {
        match self {
            Json => reply::write_listed_publication(is_first, publication, out),
            Protobuf => {
                let list = match list {
                    PublicationList::Recovered => protobuf::reply::RECOVERED,
                    PublicationList::History => protobuf::reply::HISTORY,
                };
                protobuf::reply::write_listed_publication(list, publication, out);
            }
        }
    }

    /// An entry of the clients present, where they were left out of their reply.
    pub fn write_listed_client(
        self,
        is_first: bool,
        client: &str,
        info: &ClientInfoFields<'_>,
        out: &mut BytesMut,
    ) {
        match self {
            Json => reply::write_listed_client(is_first, client, info, out),
            Protobuf => protobuf::reply::write_listed_client(client, info, out),
        }
    }

    /// A publication of a channel.
    pub fn push_publication(self, channel: &str, publication: &PublicationFields<'_>, out: &mut BytesMut) {
        match self {
            Json => push::push_publication(channel, publication, out),
            Protobuf => protobuf::push::push_publication(channel, publication, out),
        }
    }

    /// A client joined a channel.
    pub fn push_join(self, channel: &str, info: &ClientInfoFields<'_>, out: &mut BytesMut) {
        match self {
            Json => push::push_join(channel, info, out),
            Protobuf => protobuf::push::push_join(channel, info, out),
        }
    }

    /// A client left a channel.
    pub fn push_leave(self, channel: &str, info: &ClientInfoFields<'_>, out: &mut BytesMut) {
        match self {
            Json => push::push_leave(channel, info, out),
            Protobuf => protobuf::push::push_leave(channel, info, out),
        }
    }

    /// The server ended a subscription.
    pub fn push_unsubscribe(self, channel: &str, code: u32, reason: &str, out: &mut BytesMut) {
        match self {
            Json => push::push_unsubscribe(channel, code, reason, out),
            Protobuf => protobuf::push::push_unsubscribe(channel, code, reason, out),
        }
    }

    /// The server subscribed the client.
    pub fn push_subscribe(self, channel: &str, subscription: &SubscribePush<'_>, out: &mut BytesMut) {
        match self {
            Json => push::push_subscribe(channel, subscription, out),
            Protobuf => protobuf::push::push_subscribe(channel, subscription, out),
        }
    }

    /// The connection's new lifetime, `ttl` in seconds.
    pub fn push_refresh(self, expires: bool, ttl: u32, out: &mut BytesMut) {
        match self {
            Json => push::push_refresh(expires, ttl, out),
            Protobuf => protobuf::push::push_refresh(expires, ttl, out),
        }
    }

    /// The close message on transports that have none.
    pub fn push_disconnect(self, code: u32, reason: &str, out: &mut BytesMut) {
        match self {
            Json => push::push_disconnect(code, reason, out),
            Protobuf => protobuf::push::push_disconnect(code, reason, out),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn cut(form: ClientForm, frame: &[u8]) -> Vec<Result<Vec<u8>, Malformed>> {
        form.messages(frame).map(|message| message.map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn a_frame_of_json_is_cut_at_its_newlines_and_blank_lines_are_none() {
        for frame in ["", "\n \r\n", "{}", "{}\n{\"id\":1}\n", "\n\n{}\r\n  \n{ }", "x"] {
            let lines = super::super::lines(frame.as_bytes());
            let expected: Vec<_> = lines.map(|line| Ok(line.to_vec())).collect();
            assert_eq!(cut(Json, frame.as_bytes()), expected, "{frame:?}");
        }
    }

    #[test]
    fn a_frame_of_protobuf_is_cut_by_lengths_and_what_is_broken_ends_it() {
        let good =
            |messages: &[&[u8]]| messages.iter().map(|message| Ok(message.to_vec())).collect::<Vec<_>>();
        assert_eq!(cut(Protobuf, b""), []);
        assert_eq!(cut(Protobuf, b"\x00\x01a\x00\x02bc"), good(&[b"", b"a", b"", b"bc"]));
        for broken in [&b"\x02a"[..], b"\x80", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01a", &[0x80; 11]] {
            let frame = [b"\x01x", broken, b""].concat();
            let expected = [good(&[b"x"]), vec![Err(Malformed::Protobuf)]].concat();
            assert_eq!(cut(Protobuf, &frame), expected, "{broken:?}");
        }
    }
}
