//! The failed logins of one client, as its session counts them.

use std::{net::SocketAddr, sync::Arc};

use super::{AdmissionControl, attempts::AttemptKind};
use crate::{
    node::client_network::ClientNetwork,
    session::shared::policy::{Credential, LoginLimit},
};

impl AdmissionControl {
    /// The limit of failed logins for a session of the client at this address.
    pub fn login_limit(self: &Arc<Self>, peer: Option<SocketAddr>) -> Arc<dyn LoginLimit> {
        Arc::new(ClientLogins { admission: self.clone(), network: self.network_of(peer) })
    }
}

/// The failed logins of one network.
struct ClientLogins {
    admission: Arc<AdmissionControl>,
    network: Option<ClientNetwork>,
}

impl ClientLogins {
    fn attempt(credential: Credential) -> AttemptKind {
        match credential {
            Credential::Password => AttemptKind::Login,
            Credential::Token => AttemptKind::Token,
        }
    }
}

impl LoginLimit for ClientLogins {
    fn allows(&self, credential: Credential) -> bool {
        self.admission.allows_attempt(Self::attempt(credential), self.network)
    }

    fn failed(&self, credential: Credential) {
        self.admission.failed_attempt(Self::attempt(credential), self.network);
    }
}
