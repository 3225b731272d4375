//! The versions, and the choice between them. `docs/protocols/stomp.md` §2.3, §2.4 and §11.1.

use std::fmt;

/// A version of STOMP. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 1.0.
    V1_0,
    /// 1.1.
    V1_1,
    /// 1.2.
    V1_2,
}

/// All versions, the best first.
pub const VERSIONS: [Version; 3] = [Version::V1_2, Version::V1_1, Version::V1_0];

/// All versions as the `version` header of a refusal lists them.
pub const VERSION_LIST: &str = "1.0,1.1,1.2";

impl Version {
    /// As it stands in headers: `1.2`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
        }
    }

    /// The WebSocket subprotocol that stands for it: `v12.stomp`.
    #[must_use]
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::V1_0 => "v10.stomp",
            Self::V1_1 => "v11.stomp",
            Self::V1_2 => "v12.stomp",
        }
    }

    /// The highest version that both know. `accept` is the value of `accept-version`, in any order, spaces around the
    /// numbers allowed; without that header a client speaks 1.0 and nothing else. `None`: there is none.
    #[must_use]
    pub fn negotiate(accept: Option<&str>) -> Option<Self> {
        let Some(accept) = accept else { return Some(Self::V1_0) };
        VERSIONS.into_iter().find(|version| accept.split(',').any(|item| item.trim() == version.name()))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
