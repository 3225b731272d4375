//! Connections by what operators see of them.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::{
    hub::scan::detail::{ConnectionDetail, ConnectionFilter, DetailRequest},
    session::ClientDescription,
};

async fn connections(worker: &Rc<Worker>, filter: ConnectionFilter) -> Vec<ConnectionDetail> {
    let (answer, answered) = oneshot::channel();
    let request = DetailRequest::Connections { filter, after: String::new(), limit: 100, answer };
    let scan =
        actix_rt::spawn(ScanRequest::Detail(request).answer(worker.hub.clone(), worker.traffic.clone()));
    let page = answered.await.unwrap();
    scan.await.unwrap();
    page.entries.into_values().collect()
}

#[actix_rt::test]
async fn connections_are_found_by_their_address_and_their_sdk() {
    let worker = worker();
    let clients: Vec<Client> =
        (0..3).map(|number| Client::enter(&mut worker.hub_mut(), &format!("client{number}"))).collect();
    for (number, client) in clients.iter().enumerate().take(2) {
        let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, u8::try_from(number).unwrap()));
        let forwarded_by = Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)));
        let mapped =
            ClientDescription { address: Some(address), forwarded_by, ..ClientDescription::default() };
        worker.hub_mut().registry_mut().describe(client.key(), mapped);
        let sdk = ClientDescription::of_sdk(["js", "swift"][number], "1.0");
        worker.hub_mut().registry_mut().describe(client.key(), sdk);
    }
    let of_sdk = ConnectionFilter { sdk: Some("swift".to_owned()), ..ConnectionFilter::default() };
    let found = connections(&worker, of_sdk).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].client, "client1");
    assert_eq!(found[0].sdk_version.as_deref(), Some("1.0"));
    for (wanted, count) in [("swift/1.0", 1), ("swift/2.0", 0), ("swift/", 0), ("/1.0", 0)] {
        let of_version = ConnectionFilter { sdk: Some(wanted.to_owned()), ..ConnectionFilter::default() };
        assert_eq!(connections(&worker, of_version).await.len(), count, "{wanted}");
    }
    assert_eq!(
        found[0].address.as_deref(),
        Some("192.0.2.1"),
        "the address stays when the client says what it is"
    );
    assert_eq!(found[0].forwarded_by.as_deref(), Some("10.0.0.1"), "so does that of its proxy");
    for address in ["192.0.2.0", "::ffff:192.0.2.0"] {
        let of_address =
            ConnectionFilter { address: Some(address.to_owned()), ..ConnectionFilter::default() };
        let found = connections(&worker, of_address).await;
        assert_eq!(found.iter().map(|one| one.client.as_str()).collect::<Vec<_>>(), ["client0"], "{address}");
    }
    for address in ["192.0.2.9", "no address", ""] {
        let of_address =
            ConnectionFilter { address: Some(address.to_owned()), ..ConnectionFilter::default() };
        assert!(connections(&worker, of_address).await.is_empty(), "{address}");
    }
}

#[actix_rt::test]
async fn a_ping_goes_to_the_client_that_is_named_and_to_nobody_else() {
    let worker = worker();
    let _client = Client::enter(&mut worker.hub_mut(), "here");
    for (client, is_here) in [("here", true), ("elsewhere", false)] {
        let (answer, answered) = oneshot::channel();
        let request = ScanRequest::Detail(DetailRequest::Ping { client: client.to_owned(), answer });
        actix_rt::spawn(request.answer(worker.hub.clone(), worker.traffic.clone()));
        assert_eq!(answered.await.unwrap().is_some(), is_here, "{client}");
    }
}
