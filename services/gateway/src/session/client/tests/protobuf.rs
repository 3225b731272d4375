//! A session whose client speaks the protobuf form: the same commands, in binary messages.

use bytes::{BufMut as _, Bytes, BytesMut};
use gorani_broker::{ClientInfo, DataKind, HistoryPage};
use gorani_protocol::client::ClientForm;

use super::*;
use crate::{memory::MemoryBudget, session::MessageKind};

/// Fields of a command, as the schema numbers them.
const ID: u8 = 1;
const CONNECT: u8 = 4;
const SUBSCRIBE: u8 = 5;
const PUBLISH: u8 = 7;
const PRESENCE: u8 = 8;
const HISTORY: u8 = 10;

/// A field of bytes, text or a message, shorter than 128 bytes or a token.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    if value.len() >= 0x80 {
        out.extend([value.len() as u8 | 0x80, (value.len() >> 7) as u8]);
    } else {
        out.push(value.len() as u8);
    }
    [out, value.to_vec()].concat()
}

/// A command with its length before it.
fn command(id: u8, request: u8, fields: &[Vec<u8>]) -> Vec<u8> {
    let message = [vec![ID << 3, id], field(request, &fields.concat())].concat();
    // The tag of the first field of a message is cut off: what stays is its length and its bytes.
    field(ID, &message).split_off(1)
}

fn connect() -> Vec<u8> {
    command(1, CONNECT, &[field(1, token(3600, &[]).as_bytes())])
}

struct ProtobufClient {
    session: ClientSession,
    now: Now,
    actions: VecDeque<Action>,
    closed: Option<u16>,
}

impl ProtobufClient {
    fn new() -> Self {
        let now = Now { unix_ms: START_S * 1000, ..Now::read() };
        let traits = TransportTraits { form: ClientForm::Protobuf, ..TransportTraits::default() };
        let session = ClientSession::new(policy(settings()), traits, now);
        Self { session, now, actions: VecDeque::new(), closed: None }
    }

    fn connected() -> Self {
        let mut client = Self::new();
        assert_eq!(client.send(&connect()).len(), 1);
        client
    }

    /// A client that is in a channel with history.
    fn subscribed(outcome: Subscribed) -> (Self, Vec<u8>) {
        let mut client = Self::connected();
        client.send(&command(2, SUBSCRIBE, &[field(1, b"history:a")]));
        let Some(Action::Subscribe(ticket, _)) = client.next() else { panic!("no subscribe") };
        let reply = client.settle(ticket, Outcome::Subscribed(Ok(outcome)));
        client.next();
        (client, reply)
    }

    fn run(&mut self, call: impl FnOnce(&mut ClientSession, Now, &mut Actions)) -> Vec<Vec<u8>> {
        let mut actions = Actions::default();
        call(&mut self.session, self.now, &mut actions);
        while self.session.has_more() {
            self.session.resume(self.now, &mut actions);
        }
        let mut sent = Vec::new();
        drop(actions.drain_messages(|kind, message| {
            assert_eq!(kind, MessageKind::Binary);
            sent.push(message.to_vec());
        }));
        for action in actions.take_list() {
            match action {
                Action::Close(disconnect) => self.closed = Some(disconnect.code),
                Action::Identify { .. } => {}
                action => self.actions.push_back(action),
            }
        }
        sent
    }

    fn send(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        self.run(|session, now, actions| session.message(Incoming::Binary(frame), now, actions))
    }

    fn settle(&mut self, ticket: Ticket, outcome: Outcome) -> Vec<u8> {
        self.run(|session, now, actions| session.outcome(ticket, outcome, now, actions)).concat()
    }

    fn next(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }
}

fn written(write: impl FnOnce(ClientForm, &mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(ClientForm::Protobuf, &mut out);
    out.to_vec()
}

#[test]
fn commands_of_one_frame_are_answered_in_one_binary_message() {
    let mut client = ProtobufClient::new();
    let errors = [2, 3].map(|id| command(id, PRESENCE, &[field(1, b"closed:a")]));
    let sent = client.send(&[connect(), errors.concat()].concat());
    let refused = |id| written(|form, out| form.reply_error(id, 108, "not available", false, out));
    assert_eq!(sent.len(), 1, "replies of one turn share a message");
    assert!(sent[0].ends_with(&[refused(2), refused(3)].concat()), "{sent:?}");
    assert_eq!(client.closed, None);
}

#[test]
fn a_payload_is_published_as_what_it_is() {
    let payloads: [(&[u8], DataKind); 4] = [
        (b"{\"n\": 1}", DataKind::Json),
        (b"no json {", DataKind::Text),
        ("한글".as_bytes(), DataKind::Text),
        (b"\xff\x00", DataKind::Binary),
    ];
    let (mut client, _) = ProtobufClient::subscribed(top(0));
    for (data, kind) in payloads {
        // The namespace of another channel lets it publish.
        client.send(&command(3, SUBSCRIBE, &[field(1, b"open:a")]));
        if let Some(Action::Subscribe(ticket, _)) = client.next() {
            client.settle(ticket, Outcome::Subscribed(Ok(Subscribed::default())));
            client.next();
        }
        client.send(&command(4, PUBLISH, &[field(1, b"open:a"), field(2, data)]));
        let Some(Action::Publish(ticket, _, publication, _)) = client.next() else { panic!("{data:?}") };
        assert_eq!((&publication.data[..], publication.kind), (data, kind));
        let reply = client.settle(ticket, Outcome::Published(Ok(Default::default())));
        assert_eq!(reply, written(|form, out| form.reply_publish(4, out)));
    }
}

#[test]
fn a_ping_is_a_byte_and_its_pong_too_and_another_pong_ends_the_session() {
    let mut client = ProtobufClient::connected();
    client.now.instant = client.session.deadline().unwrap();
    let sent = client.run(|session, now, actions| session.signal(Signal::Timer, now, actions));
    assert_eq!(sent, [vec![0]]);
    client.send(&[0]);
    assert_eq!(client.closed, None);
    client.send(&[0]);
    assert_eq!(client.closed, Some(3501));
}

#[test]
fn what_is_no_protobuf_ends_the_session() {
    let cut = connect();
    let frames: [&[u8]; 6] =
        [b"", &cut[..cut.len() - 1], b"\xff\xff\xff\xff\x7f", &[0x80; 11], b"\x02\x0b\x0c", b"{}"];
    for frame in frames {
        let mut client = ProtobufClient::new();
        client.send(frame);
        assert_eq!(client.closed, Some(3501), "{frame:?}");
    }
    let mut client = ProtobufClient::connected();
    client.send(&[command(2, PRESENCE, &[field(1, b"closed:a")]), vec![5, 1]].concat());
    assert_eq!(client.closed, Some(3501), "the end of a frame counts too");
}

#[test]
fn a_text_message_ends_a_session_of_protobuf_and_a_binary_one_a_session_of_json() {
    let mut client = ProtobufClient::connected();
    client.run(|session, now, actions| session.message(Incoming::Text("{}"), now, actions));
    assert_eq!(client.closed, Some(3506));
    let mut client = TestClient::connected();
    client.run(|session, now, actions| session.message(Incoming::Binary(&[0]), now, actions));
    assert_eq!(client.closed_with(), 3506);
}

fn publications(count: u64) -> Vec<Arc<Publication>> {
    let publication = |offset: u64| {
        Arc::new(Publication {
            offset,
            kind: if offset.is_multiple_of(2) { DataKind::Binary } else { DataKind::Json },
            data: Bytes::from(vec![b'1'; 1000]),
            tags: vec![("k".to_owned(), "v".to_owned())],
            ..Publication::default()
        })
    };
    (1..=count).map(publication).collect()
}

#[test]
fn a_large_reply_is_the_reply_at_once() {
    let budget = Arc::new(MemoryBudget::default());
    let permits = || [None, budget.try_reply(100)];
    let mut replies = [const { Vec::new() }; 3];
    for permit in permits() {
        let recovered = Subscribed {
            was_recovering: true,
            recovered: true,
            publications: publications(300),
            permit,
            ..top(300)
        };
        replies[0].push(ProtobufClient::subscribed(recovered).1);
    }
    for permit in permits() {
        let (mut client, _) = ProtobufClient::subscribed(top(5));
        client.send(&command(3, HISTORY, &[field(1, b"history:a")]));
        let Some(Action::History(ticket, ..)) = client.next() else { panic!("no history") };
        let page = HistoryPage {
            publications: publications(300),
            top: top(300).top.unwrap(),
            ..HistoryPage::default()
        };
        replies[1].push(client.settle(ticket, Outcome::History(Ok((page, permit)))));
    }
    let present = |number: usize| {
        Arc::new(ClientInfo {
            user: "u".to_owned(),
            client: format!("c{number}"),
            connection_info: Bytes::from(vec![b'1'; 500]),
            ..ClientInfo::default()
        })
    };
    for permit in permits() {
        let (mut client, _) = ProtobufClient::subscribed(top(5));
        client.send(&command(3, PRESENCE, &[field(1, b"history:a")]));
        let Some(Action::Presence(ticket, _)) = client.next() else { panic!("no presence") };
        let clients = (0..300).map(present).collect();
        replies[2].push(client.settle(ticket, Outcome::Presence(Ok((clients, permit)))));
    }
    for pair in replies {
        assert!(pair[0].len() > 100_000 && pair[0] == pair[1], "{} {}", pair[0].len(), pair[1].len());
        let whole: Vec<_> = ClientForm::Protobuf.messages(&pair[0]).collect();
        assert!(whole.len() == 1 && whole[0].is_ok());
    }
    assert_eq!(budget.reply_bytes(), 0);
}

#[test]
fn pongs_by_the_thousand_behind_a_command_that_waits_are_bounded_by_their_frame() {
    let mut client = ProtobufClient::connected();
    client.send(&command(2, SUBSCRIBE, &[field(1, b"history:a")]));
    let mut frame = BytesMut::from(&command(3, HISTORY, &[field(1, b"history:a")])[..]);
    frame.put_bytes(0, 10_000);
    client.send(&frame);
    // Nothing is run behind one that waits; the transport reads no more, and the budget knows what is kept.
    assert!(client.session.is_blocked() || client.closed.is_some());
    assert!(client.session.input_bytes() <= 20 * frame.len());
}
