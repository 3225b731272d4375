//! The proxies that the settings configure, and the one that each name means.

use gorani_auth::{NamespaceProxies, ProxyName};

use super::{ProxyEvent, ProxySettings};
use crate::settings::{Settings, SettingsError};

/// A proxy of the settings.
#[derive(Debug, Clone, Copy)]
pub struct ConfiguredProxy<'a> {
    /// Its name in metrics and logs: that of `proxies`, or the settings that it stands in.
    pub label: &'a str,
    /// The settings that it stands in, for errors.
    pub key: &'static str,
    /// Itself.
    pub settings: &'a ProxySettings,
}

impl Settings {
    /// Every proxy, in an order that stays: those without a name first.
    pub fn configured_proxies(&self) -> Vec<ConfiguredProxy<'_>> {
        let unnamed = ProxyEvent::ALL.into_iter().filter_map(|event| {
            let settings = self.unnamed_proxy(event)?;
            Some(ConfiguredProxy { label: event.key(), key: event.key(), settings })
        });
        let named = self.proxies.iter().map(|settings| ConfiguredProxy {
            label: settings.name.as_deref().unwrap_or_default(),
            key: "proxies",
            settings,
        });
        unnamed.chain(named).collect()
    }

    /// The place in [`Settings::configured_proxies`] of the proxy that a name means.
    pub fn proxy_index(&self, event: ProxyEvent, name: &ProxyName) -> Option<usize> {
        let label = if name.0 == ProxyName::DEFAULT { event.key() } else { &name.0 };
        self.configured_proxies().iter().position(|proxy| proxy.label == label)
    }

    /// The proxy without a name of a kind. Those of `client` are there only if they are switched on.
    fn unnamed_proxy(&self, event: ProxyEvent) -> Option<&ProxySettings> {
        let is_on = |proxy: &&ProxySettings| proxy.enabled == Some(true);
        match event {
            ProxyEvent::Connect => self.client.proxy.connect.as_deref().filter(is_on),
            ProxyEvent::Refresh => self.client.proxy.refresh.as_deref().filter(is_on),
            ProxyEvent::Subscribe => self.channel.proxy.subscribe.as_deref(),
            ProxyEvent::SubRefresh => self.channel.proxy.sub_refresh.as_deref(),
            ProxyEvent::Publish => self.channel.proxy.publish.as_deref(),
            ProxyEvent::Rpc => self.rpc.proxy.as_deref(),
        }
    }

    /// Every name of a proxy that is in use must mean one.
    pub(super) fn validate_proxy_names(&self) -> Result<(), SettingsError> {
        let mut used: Vec<(String, ProxyEvent, &ProxyName)> = Vec::new();
        let of_namespace = |place: &str, proxies: &NamespaceProxies| {
            for (event, is_on) in [
                (ProxyEvent::Subscribe, proxies.subscribe_proxy_enabled),
                (ProxyEvent::Publish, proxies.publish_proxy_enabled),
                (ProxyEvent::SubRefresh, proxies.sub_refresh_proxy_enabled),
            ] {
                if is_on && self.proxy_index(event, event.name_in(proxies)).is_none() {
                    return Err(no_proxy(place, event, event.name_in(proxies)));
                }
            }
            Ok(())
        };
        of_namespace("channel.defaults", &self.channel.default_proxies)?;
        for namespace in &self.channel.namespaces {
            of_namespace(&format!("namespace {:?}", namespace.name), &namespace.proxies)?;
        }
        let without = &self.rpc.without_namespace;
        if without.proxy_enabled {
            used.push(("rpc.without_namespace".to_owned(), ProxyEvent::Rpc, &without.proxy_name));
        }
        for namespace in self.rpc.namespaces.iter().filter(|namespace| namespace.proxy_enabled) {
            let place = format!("rpc namespace {:?}", namespace.name);
            used.push((place, ProxyEvent::Rpc, &namespace.proxy_name));
        }
        match used.into_iter().find(|(_, event, name)| self.proxy_index(*event, name).is_none()) {
            Some((place, event, name)) => Err(no_proxy(&place, event, name)),
            None => Ok(()),
        }
    }
}

impl ProxyEvent {
    /// The name of the proxy that a namespace asks about this.
    pub fn name_in(self, proxies: &NamespaceProxies) -> &ProxyName {
        match self {
            Self::Publish => &proxies.publish_proxy_name,
            Self::SubRefresh => &proxies.sub_refresh_proxy_name,
            _ => &proxies.subscribe_proxy_name,
        }
    }
}

fn no_proxy(place: &str, event: ProxyEvent, name: &ProxyName) -> SettingsError {
    let problem = if name.0 == ProxyName::DEFAULT {
        format!("{place} switches its proxy on, and it is not configured")
    } else {
        format!("{place} names the proxy {:?}, which is not in proxies", name.0)
    };
    SettingsError::value(event.key(), problem)
}
