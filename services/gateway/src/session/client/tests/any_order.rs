//! Lanes under any commands and any order of the answers: what belongs together keeps its order, and every command is answered
//! once.

use proptest::prelude::*;

use super::{asking::*, *};
use crate::proxy_call::{ProxyAnswer, ProxyFailure, ProxyPayload, ProxyRequest, ProxyResult};

/// A command of a client; channels by number.
#[derive(Debug, Clone, Copy)]
enum Said {
    Subscribe(u8),
    Unsubscribe(u8),
    Publish(u8),
    Rpc,
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        (0..3_u8).prop_map(Said::Subscribe),
        (0..3_u8).prop_map(Said::Unsubscribe),
        (0..3_u8).prop_map(Said::Publish),
        Just(Said::Rpc),
    ]
}

impl Said {
    fn channel(self) -> Option<u8> {
        match self {
            Self::Subscribe(channel) | Self::Unsubscribe(channel) | Self::Publish(channel) => Some(channel),
            Self::Rpc => None,
        }
    }

    fn command(self, id: usize) -> Value {
        let channel = self.channel().map(|channel| format!("closed:{channel}"));
        match self {
            Self::Subscribe(_) => json!({"id": id, "subscribe": {"channel": channel, "data": id}}),
            Self::Unsubscribe(_) => json!({"id": id, "unsubscribe": {"channel": channel}}),
            Self::Publish(_) => json!({"id": id, "publish": {"channel": channel, "data": id}}),
            Self::Rpc => json!({"id": id, "rpc": {"data": id}}),
        }
    }
}

/// The number that a payload holds.
fn number(payload: &ProxyPayload) -> usize {
    std::str::from_utf8(&payload.data).unwrap().parse().unwrap()
}

/// The calls that are still to be answered, and the replies so far.
#[derive(Default)]
struct Seen {
    open: Vec<(Ticket, ProxyOrBroker)>,
    /// Commands in the order in which the backend was asked about them.
    asked: Vec<usize>,
    published: Vec<usize>,
    answered: Vec<usize>,
}

enum ProxyOrBroker {
    Asked(ProxyRequest),
    Subscribe,
    Publish,
}

impl Seen {
    fn take(&mut self, client: &mut TestClient, replies: Vec<Value>) {
        self.answered.extend(replies.iter().map(|reply| reply["id"].as_u64().unwrap() as usize));
        while let Some(action) = client.next() {
            match action {
                Action::Proxy(ticket, call) => {
                    let payload = match &call.request {
                        ProxyRequest::Subscribe { data, .. } | ProxyRequest::Rpc { data, .. } => data.clone(),
                        ProxyRequest::Publish { data, .. } => Some(data.clone()),
                        other => panic!("{other:?}"),
                    };
                    self.asked.push(number(&payload.unwrap()));
                    self.open.push((ticket, ProxyOrBroker::Asked(call.request)));
                }
                Action::Subscribe(ticket, _) => self.open.push((ticket, ProxyOrBroker::Subscribe)),
                Action::Publish(ticket, _, publication, _) => {
                    let kind = publication.kind;
                    self.published.push(number(&ProxyPayload { data: publication.data, kind }));
                    self.open.push((ticket, ProxyOrBroker::Publish));
                }
                _ => {}
            }
        }
    }
}

fn outcome(asked: ProxyOrBroker, is_good: bool) -> Outcome {
    let request = match asked {
        ProxyOrBroker::Subscribe => return Outcome::Subscribed(Ok(Subscribed::default())),
        ProxyOrBroker::Publish => return Outcome::Published(Ok(Default::default())),
        ProxyOrBroker::Asked(request) => request,
    };
    if !is_good {
        return Outcome::Proxied(Box::new(Err(ProxyFailure::Unknown)));
    }
    let result = match request {
        ProxyRequest::Subscribe { .. } => ProxyResult::Subscribe(Box::default()),
        ProxyRequest::Publish { .. } => ProxyResult::Publish(Box::default()),
        _ => ProxyResult::Rpc(None),
    };
    Outcome::Proxied(Box::new(Ok(ProxyAnswer::Result(result))))
}

proptest! {
    #[test]
    fn whatever_order_answers_come_in_each_lane_keeps_its_own_and_every_command_is_answered_once(
        commands in proptest::collection::vec(said(), 1..120),
        choices in proptest::collection::vec((any::<usize>(), any::<bool>()), 1..400),
        frames in 1..40_usize,
    ) {
        let mut client = TestClient::let_in(routes());
        let (mut seen, mut choices) = (Seen::default(), choices.into_iter().cycle());
        let numbered: Vec<_> = commands.iter().enumerate().map(|(index, said)| (index + 2, *said)).collect();
        for frame in numbered.chunks(frames) {
            let text: Vec<String> = frame.iter().map(|(id, said)| said.command(*id).to_string()).collect();
            let replies = client.say_text(&text.join("\n"));
            seen.take(&mut client, replies);
            if !seen.open.is_empty() && let Some((choice, is_good)) = choices.next() {
                let (ticket, asked) = seen.open.swap_remove(choice % seen.open.len());
                let replies = client.settle(ticket, outcome(asked, is_good));
                seen.take(&mut client, replies);
            }
        }
        while !seen.open.is_empty() {
            let (choice, is_good) = choices.next().unwrap();
            let (ticket, asked) = seen.open.swap_remove(choice % seen.open.len());
            let replies = client.settle(ticket, outcome(asked, is_good));
            seen.take(&mut client, replies);
        }
        prop_assert!(client.session.waiting.is_empty() && client.session.pending.is_empty());
        prop_assert_eq!(client.session.input_bytes(), 0);
        let mut answered = seen.answered.clone();
        answered.sort_unstable();
        let expected: Vec<usize> = numbered.iter().map(|(id, _)| *id).collect();
        prop_assert_eq!(answered, expected);
        prop_assert!(seen.published.is_sorted(), "{:?}", seen.published);
        let of_rpc = |ids: &[usize]| -> Vec<usize> {
            ids.iter().copied().filter(|id| matches!(commands[*id - 2], Said::Rpc)).collect()
        };
        prop_assert!(of_rpc(&seen.asked).is_sorted() && of_rpc(&seen.answered).is_sorted());
        for channel in 0..3 {
            let of_channel = |ids: &[usize]| -> Vec<usize> {
                ids.iter().copied().filter(|id| commands[*id - 2].channel() == Some(channel)).collect()
            };
            let asked = of_channel(&seen.asked);
            prop_assert!(asked.is_sorted(), "{:?}", asked);
            // Subscribe and unsubscribe are done in their order; a publication is answered when the broker has it.
            let joined: Vec<usize> = of_channel(&seen.answered)
                .into_iter()
                .filter(|id| !matches!(commands[*id - 2], Said::Publish(_)))
                .collect();
            prop_assert!(joined.is_sorted(), "{:?}", joined);
        }
    }
}
