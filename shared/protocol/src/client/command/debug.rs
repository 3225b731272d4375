//! How commands look in logs: never with a token, a header or a payload (`docs/architecture.md` §8.3).

use std::fmt;

use super::{ClientRequest, Connect, Publish, Subscribe};

impl fmt::Debug for ClientRequest<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(connect) => connect.fmt(formatter),
            Self::Subscribe(subscribe) => subscribe.fmt(formatter),
            Self::Publish(publish) => publish.fmt(formatter),
            Self::History(history) => history.fmt(formatter),
            Self::Unsubscribe { channel }
            | Self::Presence { channel }
            | Self::PresenceStats { channel }
            | Self::SubRefresh { channel, .. } => {
                formatter.debug_struct(self.kind()).field("channel", channel).finish_non_exhaustive()
            }
            Self::Rpc { method, .. } => {
                formatter.debug_struct(self.kind()).field("method", method).finish_non_exhaustive()
            }
            Self::Pong | Self::Send { .. } | Self::Refresh { .. } => formatter.write_str(self.kind()),
        }
    }
}

impl fmt::Debug for Connect<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connect")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("subs", &self.subs)
            .field("flag", &self.flag)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Subscribe<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Subscribe")
            .field("channel", &self.channel)
            .field("recover", &self.recover)
            .field("offset", &self.offset)
            .field("epoch", &self.epoch)
            .field("flag", &self.flag)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Publish<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Publish").field("channel", &self.channel).finish_non_exhaustive()
    }
}
