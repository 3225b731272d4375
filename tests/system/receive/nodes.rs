//! The same over several nodes: publish at one, receive at another, come back to a third; and all of it behind a balancer
//! that sends every request wherever it likes. `docs/architecture.md` §5.8.

use gorani_tests::{
    balancer::{Balancer, Kind, NODES},
    node::Node,
    redis::Redis,
};

use super::{
    expect, publish, settings,
    transport::{Receiver, ReceiverOptions, WAYS},
};

fn cluster(redis: &Redis) -> [Node; NODES] {
    std::array::from_fn(|_| {
        let settings = settings()
            .set("broker.kind", "\"redis\"")
            .set("broker.redis.url", format!("\"{}\"", redis.url()));
        Node::start(settings)
    })
}

#[test]
fn what_is_published_at_one_node_is_received_at_every_other_over_every_way() {
    let redis = Redis::start();
    let nodes = cluster(&redis);
    for transport in WAYS {
        for (index, receiving) in nodes.iter().enumerate() {
            let channel = format!("news:pair-{transport:?}-{index}");
            let mut receiver = Receiver::open(receiving, transport, &ReceiverOptions::channel(&channel));
            for (turn, publishing) in (0u64..).zip(&nodes) {
                publish(publishing, &channel, turn * 5..turn * 5 + 5);
            }
            expect(&mut receiver, 0..15);
        }
    }
}

#[test]
fn who_comes_back_to_another_node_misses_and_repeats_nothing_over_every_way() {
    let redis = Redis::start();
    let nodes = cluster(&redis);
    for transport in WAYS {
        let channel = format!("news:move-{transport:?}");
        let mut options = ReceiverOptions::channel(&channel);
        for (turn, node) in (0u64..).zip(&nodes) {
            let first = turn * 20;
            let mut receiver = Receiver::open(node, transport, &options);
            // Of these, those from the turn before came while nobody received.
            publish(node, &channel, first..first + 10);
            expect(&mut receiver, first.saturating_sub(10)..first + 10);
            options = receiver.leave();
            publish(&nodes[0], &channel, first + 10..first + 20);
        }
    }
}

#[test]
fn a_node_that_dies_costs_its_receivers_nothing_but_coming_back_elsewhere() {
    let redis = Redis::start();
    let mut nodes = cluster(&redis);
    let mut receivers: Vec<_> = WAYS
        .iter()
        .map(|transport| Receiver::open(&nodes[1], *transport, &ReceiverOptions::channel("news:dies")))
        .collect();
    publish(&nodes[0], "news:dies", 0..5);
    receivers.iter_mut().for_each(|receiver| expect(receiver, 0..5));
    nodes[1].kill();
    publish(&nodes[0], "news:dies", 5..10);
    for (transport, receiver) in WAYS.into_iter().zip(receivers) {
        let mut receiver = Receiver::open(&nodes[2], transport, &receiver.leave());
        expect(&mut receiver, 5..10);
    }
}

#[test]
fn behind_a_round_robin_balancer_every_way_receives_in_order_and_recovers() {
    let redis = Redis::start();
    let nodes = cluster(&redis);
    for kind in [Kind::Nginx, Kind::Haproxy] {
        let balancer = Balancer::start(kind, std::array::from_fn(|index| nodes[index].address()));
        for transport in WAYS {
            let channels = ["a", "b", "c"].map(|name| format!("news:{name}-{kind:?}-{transport:?}"));
            let mut options = ReceiverOptions::channels(&channels);
            for turn in 0u64..3 {
                let mut receiver = Receiver::at(balancer.address(), transport, &options).unwrap();
                let first = turn * 12;
                expect(&mut receiver, first.saturating_sub(6)..first);
                // A new connection through the balancer for each, and so another node.
                for (number, channel) in (first..first + 6).zip(channels.iter().cycle()) {
                    publish(&nodes[number as usize % NODES], channel, number..number + 1);
                    expect(&mut receiver, number..number + 1);
                }
                options = receiver.leave();
                publish(&nodes[0], &channels[0], first + 6..first + 12);
            }
        }
    }
}
