//! The routes of sessions: which proxy is asked about what, from the settings.

use std::{collections::BTreeSet, num::NonZeroUsize};

use gorani_auth::{NamespaceProxies, ProxyName};

use crate::{
    proxy_call::{ChannelProxies, ProxyId, ProxyRoutes, RpcRoutes, TRACEPARENT, TRACEPARENT_OF_FRAMES},
    settings::{ProxyEvent, Settings},
};

/// The routes of these settings, which were checked: every name means a proxy.
pub fn routes(settings: &Settings) -> ProxyRoutes {
    let unnamed = ProxyName::default();
    let id = |event: ProxyEvent, name: &ProxyName| {
        settings.proxy_index(event, name).and_then(|index| u16::try_from(index).ok()).map(ProxyId)
    };
    let of_channels = |proxies: &NamespaceProxies| {
        let of = |event: ProxyEvent, is_on: bool| is_on.then(|| id(event, event.name_in(proxies))).flatten();
        ChannelProxies {
            subscribe: of(ProxyEvent::Subscribe, proxies.subscribe_proxy_enabled),
            publish: of(ProxyEvent::Publish, proxies.publish_proxy_enabled),
            sub_refresh: of(ProxyEvent::SubRefresh, proxies.sub_refresh_proxy_enabled),
        }
    };
    let namespaces = settings.channel.namespaces.iter();
    let rpc = &settings.rpc;
    let of_method = |is_on: bool, name: &ProxyName| is_on.then(|| id(ProxyEvent::Rpc, name)).flatten();
    let configured = settings.configured_proxies();
    let has_trace = settings.client.proxy.traceparent;
    let listed = |names: fn(&crate::settings::ProxySettings) -> &Vec<String>, trace: &[&str]| {
        let names = configured.iter().flat_map(move |proxy| names(proxy.settings));
        let trace = trace.iter().filter(|_| has_trace && !configured.is_empty());
        names
            .map(|name| name.to_ascii_lowercase())
            .chain(trace.map(ToString::to_string))
            .collect::<BTreeSet<_>>()
    };
    ProxyRoutes {
        is_configured: !configured.is_empty(),
        connect: id(ProxyEvent::Connect, &unnamed),
        refresh: id(ProxyEvent::Refresh, &unnamed),
        without_namespace: of_channels(&settings.channel.default_proxies),
        namespaces: namespaces
            .map(|namespace| (namespace.name.as_str().into(), of_channels(&namespace.proxies)))
            .filter(|(_, proxies)| *proxies != ChannelProxies::default())
            .collect(),
        rpc: RpcRoutes {
            concurrency: NonZeroUsize::new(rpc.concurrency).unwrap_or(NonZeroUsize::MIN),
            without_namespace: of_method(
                rpc.without_namespace.proxy_enabled,
                &rpc.without_namespace.proxy_name,
            ),
            namespaces: rpc
                .namespaces
                .iter()
                .map(|namespace| {
                    (
                        namespace.name.as_str().into(),
                        of_method(namespace.proxy_enabled, &namespace.proxy_name),
                    )
                })
                .collect(),
        },
        http_headers: listed(|proxy| &proxy.http_headers, &[TRACEPARENT])
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect(),
        emulated_headers: listed(|proxy| &proxy.emulated_headers, &[TRACEPARENT, TRACEPARENT_OF_FRAMES])
            .into_iter()
            .map(Into::into)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::collections::HashMap;

    use super::*;
    use crate::disconnect::ErrorCode;

    fn routes_of(text: &str) -> ProxyRoutes {
        routes(&Settings::from_text(text, &HashMap::new()).unwrap())
    }

    #[test]
    fn without_proxies_there_are_no_routes() {
        assert!(routes(&Settings::default()).is_empty());
    }

    #[test]
    fn each_namespace_asks_the_proxy_that_it_names() {
        let routes = routes_of(
            "[channel.proxy.subscribe]\nendpoint = 'http://a.test'\nhttp_headers = ['Cookie', 'x-a']\n\
             [[proxies]]\nname = 'orders'\nendpoint = 'http://b.test'\nhttp_headers = ['cookie']\nemulated_headers = ['Authorization']\n\
             [channel.defaults]\nsubscribe_proxy_enabled = true\n\
             [[channel.namespaces]]\nname = 'chat'\nsubscribe_proxy_enabled = true\npublish_proxy_enabled = true\n\
             subscribe_proxy_name = 'orders'\npublish_proxy_name = 'orders'\n[[channel.namespaces]]\nname = 'open'",
        );
        let (unnamed, orders) = (Some(ProxyId(0)), Some(ProxyId(1)));
        assert_eq!(routes.channel("lobby").subscribe, unnamed);
        assert_eq!(routes.channel("lobby").publish, None);
        let chat = ChannelProxies { subscribe: orders, publish: orders, sub_refresh: None };
        assert_eq!(routes.channel("chat:1"), chat);
        assert_eq!(routes.channel("$chat:1"), chat);
        assert_eq!(routes.channel("open:1"), ChannelProxies::default());
        assert_eq!((routes.connect, routes.refresh), (None, None));
        assert_eq!(routes.http_headers, ["cookie", "x-a"]);
        assert_eq!(routes.emulated_headers, [Box::<str>::from("authorization")]);
    }

    #[test]
    fn sessions_keep_the_headers_of_a_trace_if_calls_have_one() {
        let on = "[client.proxy]\ntraceparent = true\n[channel.proxy.subscribe]\nendpoint = 'http://a.test'";
        let routes = routes_of(on);
        assert_eq!(routes.http_headers, ["traceparent"]);
        assert_eq!(routes.emulated_headers, ["stomp-traceparent", "traceparent"].map(Box::<str>::from));
        assert!(routes_of(&on.replace("true", "false")).http_headers.is_empty());
    }

    #[test]
    fn a_method_is_answered_by_the_proxy_of_its_namespace() {
        let routes = routes_of(
            "[rpc]\nconcurrency = 4\nnamespaces = [{ name = 'a', proxy_enabled = true, proxy_name = 'other' }, { name = 'off' }]\n\
             [rpc.without_namespace]\nproxy_enabled = true\n[rpc.proxy]\nendpoint = 'http://a.test'\n\
             [[proxies]]\nname = 'other'\nendpoint = 'http://b.test'",
        );
        assert_eq!(routes.rpc("sum"), Ok(ProxyId(0)));
        assert_eq!(routes.rpc(""), Ok(ProxyId(0)));
        assert_eq!(routes.rpc("a:b:c"), Ok(ProxyId(1)));
        assert_eq!(routes.rpc("off:b"), Err(ErrorCode::NOT_AVAILABLE));
        assert_eq!(routes.rpc("none:b"), Err(ErrorCode::METHOD_NOT_FOUND));
        assert_eq!(routes.rpc.concurrency.get(), 4);
    }
}
