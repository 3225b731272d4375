//! The messages that a client reads, for prost's decoder.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Empty, SendRequest};

/// The answers, as the SDKs read them. Fields in the order of their numbers, as prost writes them.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ReplyMessage {
    #[prost(uint32, tag = "1")]
    pub(super) id: u32,
    #[prost(message, optional, tag = "2")]
    pub(super) error: Option<ErrorMessage>,
    #[prost(message, optional, tag = "4")]
    pub(super) push: Option<PushMessage>,
    #[prost(message, optional, tag = "5")]
    pub(super) connect: Option<ConnectAnswer>,
    #[prost(message, optional, tag = "6")]
    pub(super) subscribe: Option<SubscribeAnswer>,
    #[prost(message, optional, tag = "7")]
    pub(super) unsubscribe: Option<Empty>,
    #[prost(message, optional, tag = "8")]
    pub(super) publish: Option<Empty>,
    #[prost(message, optional, tag = "9")]
    pub(super) presence: Option<PresenceAnswer>,
    #[prost(message, optional, tag = "10")]
    pub(super) presence_stats: Option<StatsAnswer>,
    #[prost(message, optional, tag = "11")]
    pub(super) history: Option<HistoryAnswer>,
    #[prost(message, optional, tag = "13")]
    pub(super) rpc: Option<SendRequest>,
    #[prost(message, optional, tag = "14")]
    pub(super) refresh: Option<RefreshAnswer>,
    #[prost(message, optional, tag = "15")]
    pub(super) sub_refresh: Option<LifetimeMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ErrorMessage {
    #[prost(uint32, tag = "1")]
    pub(super) code: u32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(bool, tag = "3")]
    pub(super) temporary: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PushMessage {
    #[prost(int64, tag = "1")]
    pub(super) id: i64,
    #[prost(string, tag = "2")]
    pub(super) channel: String,
    #[prost(message, optional, tag = "4")]
    pub(super) publication: Option<PublicationMessage>,
    #[prost(message, optional, tag = "5")]
    pub(super) join: Option<InfoOnly>,
    #[prost(message, optional, tag = "6")]
    pub(super) leave: Option<InfoOnly>,
    #[prost(message, optional, tag = "7")]
    pub(super) unsubscribe: Option<UnsubscribeMessage>,
    #[prost(message, optional, tag = "8")]
    pub(super) message: Option<SendRequest>,
    #[prost(message, optional, tag = "9")]
    pub(super) subscribe: Option<SubscribeMessage>,
    #[prost(message, optional, tag = "11")]
    pub(super) disconnect: Option<DisconnectMessage>,
    #[prost(message, optional, tag = "12")]
    pub(super) refresh: Option<LifetimeMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct InfoMessage {
    #[prost(string, tag = "1")]
    pub(super) user: String,
    #[prost(string, tag = "2")]
    pub(super) client: String,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) conn_info: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) chan_info: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct InfoOnly {
    #[prost(message, optional, tag = "1")]
    pub(super) info: Option<InfoMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PublicationMessage {
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) data: Bytes,
    #[prost(message, optional, tag = "5")]
    pub(super) info: Option<InfoMessage>,
    #[prost(uint64, tag = "6")]
    pub(super) offset: u64,
    #[prost(btree_map = "string, string", tag = "7")]
    pub(super) tags: BTreeMap<String, String>,
    #[prost(int64, tag = "9")]
    pub(super) time: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct UnsubscribeMessage {
    #[prost(uint32, tag = "2")]
    pub(super) code: u32,
    #[prost(string, tag = "3")]
    pub(super) reason: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DisconnectMessage {
    #[prost(uint32, tag = "1")]
    pub(super) code: u32,
    #[prost(string, tag = "2")]
    pub(super) reason: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SubscribeMessage {
    #[prost(bool, tag = "1")]
    pub(super) recoverable: bool,
    #[prost(string, tag = "4")]
    pub(super) epoch: String,
    #[prost(uint64, tag = "5")]
    pub(super) offset: u64,
    #[prost(bool, tag = "6")]
    pub(super) positioned: bool,
    #[prost(bytes = "bytes", tag = "7")]
    pub(super) data: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LifetimeMessage {
    #[prost(bool, tag = "1")]
    pub(super) expires: bool,
    #[prost(uint32, tag = "2")]
    pub(super) ttl: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RefreshAnswer {
    #[prost(string, tag = "1")]
    pub(super) client: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
    #[prost(bool, tag = "3")]
    pub(super) expires: bool,
    #[prost(uint32, tag = "4")]
    pub(super) ttl: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ConnectAnswer {
    #[prost(string, tag = "1")]
    pub(super) client: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
    #[prost(bool, tag = "3")]
    pub(super) expires: bool,
    #[prost(uint32, tag = "4")]
    pub(super) ttl: u32,
    #[prost(bytes = "bytes", tag = "5")]
    pub(super) data: Bytes,
    #[prost(btree_map = "string, message", tag = "6")]
    pub(super) subs: BTreeMap<String, SubscribeAnswer>,
    #[prost(uint32, tag = "7")]
    pub(super) ping: u32,
    #[prost(bool, tag = "8")]
    pub(super) pong: bool,
    #[prost(string, tag = "9")]
    pub(super) session: String,
    #[prost(string, tag = "10")]
    pub(super) node: String,
    #[prost(int64, tag = "11")]
    pub(super) time: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SubscribeAnswer {
    #[prost(bool, tag = "1")]
    pub(super) expires: bool,
    #[prost(uint32, tag = "2")]
    pub(super) ttl: u32,
    #[prost(bool, tag = "3")]
    pub(super) recoverable: bool,
    #[prost(string, tag = "6")]
    pub(super) epoch: String,
    #[prost(message, repeated, tag = "7")]
    pub(super) publications: Vec<PublicationMessage>,
    #[prost(bool, tag = "8")]
    pub(super) recovered: bool,
    #[prost(uint64, tag = "9")]
    pub(super) offset: u64,
    #[prost(bool, tag = "10")]
    pub(super) positioned: bool,
    #[prost(bytes = "bytes", tag = "11")]
    pub(super) data: Bytes,
    #[prost(bool, tag = "12")]
    pub(super) was_recovering: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HistoryAnswer {
    #[prost(message, repeated, tag = "1")]
    pub(super) publications: Vec<PublicationMessage>,
    #[prost(string, tag = "2")]
    pub(super) epoch: String,
    #[prost(uint64, tag = "3")]
    pub(super) offset: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PresenceAnswer {
    #[prost(btree_map = "string, message", tag = "1")]
    pub(super) presence: BTreeMap<String, InfoMessage>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StatsAnswer {
    #[prost(uint32, tag = "1")]
    pub(super) num_clients: u32,
    #[prost(uint32, tag = "2")]
    pub(super) num_users: u32,
}
