//! The objects that receivers without commands are sent, and the positions that each one brings them to.

use std::sync::Arc;

use gorani_broker::{ChannelEvent, ClientInfo};

use super::{Hub, publication};
use crate::format::encoding::{Encoding, Framing, Protocol};

fn sent(protocol: Protocol, event: ChannelEvent) -> String {
    let mut hub = Hub::new(usize::MAX);
    let encoding = Encoding { protocol, framing: Framing::Raw };
    String::from_utf8(hub.encoder_mut().encode(&encoding, "a", &[event]).to_vec()).unwrap()
}

#[test]
fn a_publication_with_a_place_brings_a_tracking_receiver_to_it_and_nothing_else_does() {
    let placed = || ChannelEvent::Publication(Arc::new(publication(5)));
    let without = || ChannelEvent::Publication(Arc::new(publication(0)));
    let info = Arc::new(ClientInfo { client: "one".to_owned(), ..ClientInfo::default() });
    assert!(
        sent(Protocol::WithPositions, placed()).starts_with("a.5.e\n{"),
        "{}",
        sent(Protocol::WithPositions, placed())
    );
    for event in [without(), ChannelEvent::Join(info.clone()), ChannelEvent::Leave(info)] {
        let (tracked, bare) = (sent(Protocol::WithPositions, event.clone()), sent(Protocol::Plain, event));
        assert!(bare.starts_with('{'), "{bare}");
        assert_eq!(tracked, format!("\n{bare}"));
    }
    assert_eq!(
        sent(Protocol::WithPositions, placed()),
        format!("a.5.e\n{}", sent(Protocol::Plain, placed()))
    );
}
