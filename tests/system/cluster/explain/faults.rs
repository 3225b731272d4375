//! Faults in a random order and of random sizes, and what `explain` says of those who were there.

use gorani_tests::{proxy::Proxy, redis::Redis};
use rand::seq::SliceRandom as _;
use serde_json::{Value, json};

use super::{
    super::{SOON, users},
    World, settings, unix_ms,
};
use crate::eventually;

/// The node that is cut off from Redis, and killed.
const FAR: usize = 2;

#[derive(Debug, Clone, Copy)]
enum Fault {
    Gap,
    Slow,
    Unwritten,
    Killed,
}

impl World {
    /// Redis is silent towards a node: what comes meanwhile is fetched from history, or told to be lost where that is too short.
    async fn gap(&mut self, proxy: &Proxy) {
        let (had, missed) = (self.upto(3), self.upto(6));
        let (user, kept) = self.fresh("kept");
        let (other, short) = self.fresh("short");
        let (mut keeps, _) = users::connect(&self.nodes[FAR], &user).await;
        keeps.ok("subscribe", json!({"channel": kept})).await;
        let (mut loses, _) = users::connect(&self.nodes[FAR], &other).await;
        loses.ok("subscribe", json!({"channel": short})).await;
        let near = self.nodes[0].api();
        for (channel, client) in [(&kept, &mut keeps), (&short, &mut loses)] {
            for offset in 1..=had {
                near.publish(channel, &json!(offset));
                assert_eq!(client.push().await["pub"]["offset"], offset);
            }
        }
        proxy.swallow_answers();
        for number in 0..missed {
            near.publish(&kept, &json!(number));
            near.publish(&short, &json!(number));
        }
        let far = self.nodes[FAR].api();
        eventually("the node knows that it is deaf", SOON, || far.get("/health/ready").0 == 503);
        proxy.lift();
        for offset in had + 1..=had + missed {
            assert_eq!(keeps.push().await["pub"]["offset"], offset);
        }
        // The history of three.
        let is_lost = missed > 3;
        if is_lost {
            assert_eq!(loses.push().await["unsubscribe"]["code"], 2500);
        } else {
            for offset in had + 1..=had + missed {
                assert_eq!(loses.push().await["pub"]["offset"], offset);
            }
        }
        eventually("all nodes answer", SOON, || {
            self.explained(&json!({"channel": kept, "user": "1", "last": 1}))["complete"] == true
        });
        let (old, new) = (self.upto(had), had + self.upto(missed));
        let about = |user: &str, channel: &str, offset: u64| json!({"channel": channel, "user": user, "offset": offset});
        self.check(&about(&user, &kept, old), "written", 0);
        self.check(&about(&user, &kept, new), "caught_up", 0);
        let (code, exit) = if is_lost { ("told", 1) } else { ("caught_up", 0) };
        self.check(&about(&other, &short, new), code, exit);
    }

    /// A node dies, and its clients come back to another one.
    async fn killed(&mut self) {
        let (had, missed) = (self.upto(3), self.upto(4));
        let (user, channel) = self.fresh("kept");
        let (mut client, _) = users::connect(&self.nodes[FAR], &user).await;
        let begun = client.ok("subscribe", json!({"channel": channel})).await;
        self.publish(&channel, had);
        for offset in 1..=had {
            assert_eq!(client.push().await["pub"]["offset"], offset);
        }
        let about = |offset: u64| json!({"channel": channel, "user": user, "offset": offset});
        let (old, new) = (self.upto(had), had + self.upto(missed));
        let mut victim = self.nodes.remove(FAR);
        let since = unix_ms();
        victim.kill();
        // Each of the others finds out by itself. What is published before the last of them has could be on the lost node.
        eventually("the others have seen its lease end", SOON, || {
            let answer = self.explained(&about(old));
            let lines = answer["evidence"].as_array().unwrap();
            let is_news = |line: &&Value| line["code"] == "node_lost" && line["at"].as_u64() >= Some(since);
            lines.iter().filter(is_news).count() == self.nodes.len()
        });
        self.check(&about(old), "node_lost", 5);
        self.publish(&channel, missed);
        let (_client, reply) = self.returns(&user, &channel, had, &begun["epoch"]).await;
        assert_eq!(reply["recovered"], true);
        self.check(&about(old), "had_it", 0);
        self.check(&about(new), "recovered", 0);
        victim.restart();
        victim.wait_ready();
        self.nodes.insert(FAR, victim);
    }
}

#[tokio::test]
async fn explain_says_what_the_test_did_in_random_faults() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.address());
    let through_proxy = format!("\"redis://{}/0\"", proxy.address());
    let mut world = World::start(|number| match number {
        FAR => settings(&redis, FAR).set("broker.redis.url", &through_proxy),
        near => settings(&redis, near),
    });
    let mut faults = [Fault::Gap; 10];
    faults[4..6].fill(Fault::Slow);
    faults[6..8].fill(Fault::Unwritten);
    faults[8..].fill(Fault::Killed);
    faults.shuffle(&mut world.random);
    for fault in faults {
        match fault {
            Fault::Gap => world.gap(&proxy).await,
            Fault::Slow => world.does_not_read(true).await,
            Fault::Unwritten => world.does_not_read(false).await,
            Fault::Killed => world.killed().await,
        }
    }
}
