//! The store of hooks: sessions, their numbers, what a node has, runs.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::join_all;

use super::{
    Harness,
    hook_fixture::{
        FIRST, HookNode, PARTITION, PARTITIONS, SECOND, TwoNodes, channel, draft, ids, member, plan, texts,
    },
};
use crate::{
    BrokerError,
    hook_store::{HookApplied, HookChange, HookEventKind, HookStorePlan, MAX_CHANGES},
};

pub async fn a_session_is_told_once_and_its_events_are_numbered(harness: &impl Harness) {
    let node = HookNode::join(harness, "one").await;
    assert!(node.change(node.connect("a", "joe")).await);
    assert!(!node.change(node.connect("a", "joe")).await);
    assert!(node.change(node.note("a", "joe", "news")).await);
    assert!(node.change(node.connect("b", "joe")).await);
    assert!(node.change(node.note("a", "joe", "sport")).await);
    assert!(node.change(node.disconnect("a", "joe")).await);
    assert!(!node.change(node.disconnect("a", "joe")).await);
    assert!(!node.change(node.note("a", "joe", "late")).await);
    assert!(node.change(node.disconnect("b", "joe")).await);
    let events = [
        "Connected a joe 1 1",
        "Subscribed a news joe 2 1",
        "Connected b joe 1 2",
        "Subscribed a sport joe 3 2",
        "Disconnected a joe 4 1",
        "Disconnected b joe 2 0",
    ];
    assert_eq!(node.take().await, texts(&events));
}

pub async fn sessions_without_a_user_are_numbered_and_not_counted(harness: &impl Harness) {
    let node = HookNode::join(harness, "one").await;
    node.apply(vec![node.connect("a", ""), node.connect("b", ""), node.note("a", "", "news")]).await;
    node.apply(vec![node.disconnect("a", ""), node.disconnect("b", "")]).await;
    let events = [
        "Connected a 1 0",
        "Connected b 1 0",
        "Subscribed a news 2 0",
        "Disconnected a 3 0",
        "Disconnected b 2 0",
    ];
    assert_eq!(node.take().await, texts(&events));
}

pub async fn only_its_own_node_ends_a_session(harness: &impl Harness) {
    let nodes = TwoNodes::join(harness).await;
    let (one, other) = (&nodes.one, nodes.other());
    one.change(one.connect("a", "joe")).await;
    let HookChange::Disconnect { mut event, .. } = one.disconnect("a", "joe") else { panic!() };
    event.node = "a third one".into();
    assert!(!other.change(HookChange::Disconnect { event, keep_sequence: true }).await);
    assert!(other.change(one.lose("a", "joe")).await, "in its name another node does");
    assert_eq!(one.take().await, texts(&["Connected a joe 1 1", "Disconnected a joe 2 0"]));
}

pub async fn a_users_sessions_are_counted_over_all_nodes(harness: &impl Harness) {
    let nodes = TwoNodes::join(harness).await;
    let (one, other) = (&nodes.one, nodes.other());
    one.change(one.connect("a", "joe")).await;
    other.change(other.connect("b", "joe")).await;
    one.change(one.connect("c", "ann")).await;
    one.change(one.disconnect("a", "joe")).await;
    let events =
        ["Connected a joe 1 1", "Connected b joe 1 2", "Connected c ann 1 1", "Disconnected a joe 2 1"];
    assert_eq!(other.take().await, texts(&events));
}

pub async fn a_lost_session_that_comes_back_goes_on_with_its_number(harness: &impl Harness) {
    let node = HookNode::join(harness, "one").await;
    node.apply(vec![node.connect("a", "joe"), node.note("a", "joe", "news"), node.lose("a", "joe")]).await;
    assert!(!node.change(node.note("a", "joe", "sport")).await);
    harness.pass(harness.span()).await;
    node.apply(vec![node.connect("a", "joe"), node.disconnect("a", "joe"), node.connect("a", "joe")]).await;
    let events = [
        "Connected a joe 1 1",
        "Subscribed a news joe 2 1",
        "Disconnected a joe 3 0",
        "Connected a joe 4 1",
        "Disconnected a joe 5 0",
        "Connected a joe 1 1",
    ];
    assert_eq!(node.take().await, texts(&events), "after an end of its own nothing is kept");
}

pub async fn the_number_of_a_lost_session_is_forgotten_when_its_time_is_over(harness: &impl Harness) {
    let node = HookNode::join(harness, "one").await;
    let clients = ["a", "b", "c", "d"];
    node.apply(clients.map(|client| node.connect(client, "joe")).into()).await;
    node.apply(clients.map(|client| node.lose(client, "joe")).into()).await;
    node.take().await;
    harness.pass(5 * harness.span()).await;
    node.change(node.connect("d", "joe")).await;
    assert_eq!(node.take().await, texts(&["Connected d joe 1 1"]));
}

pub async fn changes_of_one_call_are_made_in_their_order(harness: &impl Harness) {
    let node = HookNode::join(harness, "one").await;
    let news = channel("news");
    let changes = vec![
        node.note("a", "joe", "early"),
        node.connect("a", "joe"),
        node.enter(&news),
        node.note("a", "joe", "news"),
        node.leave(&news, std::time::Duration::ZERO),
        node.disconnect("a", "joe"),
        node.note("a", "joe", "late"),
        node.append("x"),
    ];
    assert_eq!(node.apply(changes).await, [false, true, true, true, true, true, false, true]);
    let events = [
        "Connected a joe 1 1",
        "Occupied news",
        "Subscribed a news joe 2 1",
        "Vacated news",
        "Disconnected a joe 3 0",
        "Publication x",
    ];
    assert_eq!(node.take().await, texts(&events));
}

pub async fn too_many_changes_and_odd_names_are_refused_whole(harness: &impl Harness) {
    let node = HookNode::join(harness, "one").await;
    let many = vec![node.append("x"); MAX_CHANGES + 1];
    let odd = vec![node.append("x"), node.enter(&channel("a\0b"))];
    let odd_client = vec![node.append("x"), node.connect("a\0b", "joe")];
    for changes in [many, odd, odd_client] {
        let refused = node.store().apply(PARTITION, &node.run, changes).await;
        assert!(matches!(refused, Err(BrokerError::Limit(_))), "{refused:?}");
    }
    assert_eq!(node.take().await, texts(&[]));
    assert_eq!(node.apply(vec![node.append("x"); MAX_CHANGES]).await, [true; MAX_CHANGES]);
    assert_eq!(node.apply(vec![]).await, [false; 0]);
    let beyond = node.store().apply(PARTITIONS, &node.run, vec![node.append("x")]).await;
    assert!(matches!(beyond, Err(BrokerError::Limit(_))));
}

pub async fn odd_names_are_told_apart(harness: &impl Harness) {
    let node = HookNode::join(harness, "o}n{e").await;
    let names = ["a b", "1 x", "}{", "채팅", " ", "s", "c", "m"];
    let mut changes = Vec::new();
    for name in names {
        changes.push(node.connect(name, &format!("{name}\0{name}\n")));
        changes.push(node.enter(&channel(name)));
        changes.push(node.enter(&member(name, &format!("\0{name}"))));
        changes.push(node.enter(&member(name, "")));
    }
    let all = node.apply(changes).await;
    assert_eq!(all, vec![true; all.len()]);
    let has = node.entries_of("o}n{e", 3).await;
    assert_eq!((has.sessions.len(), has.occupancies.len()), (names.len(), 3 * names.len()));
    for name in names {
        assert!(has.sessions.contains(&(name.into(), format!("{name}\0{name}\n").into())));
        assert!(has.occupancies.contains(&member(name, &format!("\0{name}"))));
        assert!(node.change(node.disconnect(name, &format!("{name}\0{name}\n"))).await);
    }
}

pub async fn what_a_node_has_is_read_in_pages(harness: &impl Harness) {
    let nodes = TwoNodes::join(harness).await;
    let (one, other) = (&nodes.one, nodes.other());
    let clients: Vec<String> = (0..25).map(|number| format!("c{number}")).collect();
    one.apply(clients.iter().map(|client| one.connect(client, "joe")).collect()).await;
    one.apply((0..10).map(|number| one.enter(&channel(&format!("x{number}")))).collect()).await;
    let HookChange::Connect { mut event } = other.connect("z", "ann") else { panic!() };
    event.node = "one more".into();
    other.change(HookChange::Connect { event }).await;
    let has = other.entries_of("one", 7).await;
    let sessions: BTreeSet<&str> = has.sessions.iter().map(|(client, _)| &**client).collect();
    assert_eq!(sessions, clients.iter().map(String::as_str).collect());
    assert!(has.sessions.iter().all(|(_, user)| &**user == "joe"));
    assert_eq!((has.sessions.len(), has.occupancies.len()), (25, 10));
    let mut names = other.store().nodes(PARTITION).await.unwrap();
    names.sort_unstable();
    assert_eq!(names, ["one", "one more"]);
    assert_eq!(other.entries_of("nobody", 7).await, Default::default());
    assert_eq!(other.store().nodes(PARTITION - 1).await.unwrap(), [""; 0]);
    let bad = other.store().entries(PARTITION, "one", "?", 7).await;
    assert_eq!(bad, Err(BrokerError::BadCursor));
}

pub async fn entries_that_stay_are_given_once_although_others_go(harness: &impl Harness) {
    let node = HookNode::join(harness, "one").await;
    let clients: Vec<String> = (10..40).map(|number| format!("c{number}")).collect();
    node.apply(clients.iter().map(|client| node.connect(client, "joe")).collect()).await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = node.store().entries(PARTITION, "one", &cursor, 4).await.unwrap();
        for (client, _) in page.sessions {
            // Those behind go while the next are read.
            node.change(node.disconnect(&client, "joe")).await;
            seen.push(client.to_string());
        }
        match page.cursor {
            Some(next) => cursor = next,
            None => break,
        }
    }
    assert_eq!(seen, clients);
    assert_eq!(node.store().nodes(PARTITION).await.unwrap(), [""; 0]);
}

pub async fn of_concurrent_reapers_each_end_is_told_by_one(harness: &impl Harness) {
    let nodes = TwoNodes::join(harness).await;
    let (one, other) = (&nodes.one, nodes.other());
    let clients: Vec<String> = (0..40).map(|number| format!("c{number}")).collect();
    one.apply(clients.iter().map(|client| one.connect(client, "joe")).collect()).await;
    one.change(one.enter(&channel("news"))).await;
    one.take().await;
    let reap = async |reaper: &HookNode| {
        let has = reaper.entries_of("one", 500).await;
        let mut told = 0;
        for (client, user) in has.sessions {
            told += usize::from(reaper.change(one.lose(&client, &user)).await);
        }
        for key in has.occupancies {
            told += usize::from(reaper.change(one.leave(&key, std::time::Duration::ZERO)).await);
        }
        told
    };
    let told = join_all([one, other, other].map(reap)).await;
    assert_eq!(told.iter().sum::<usize>(), 41, "{told:?}");
    let events = one.take().await;
    assert_eq!(events.len(), 41);
    assert_eq!(events.iter().collect::<BTreeSet<_>>().len(), 41);
    assert!(events.contains(&"Vacated news".to_owned()));
}

pub async fn the_number_of_partitions_is_the_first_one(harness: &impl Harness) {
    let nodes = TwoNodes::join(harness).await;
    let more = HookStorePlan { partitions: PARTITIONS + 1, ..plan(harness) };
    assert_eq!(nodes.other().store().open(more).await.unwrap(), PARTITIONS);
    // The store stays as it was opened before.
    assert!(nodes.other().change(nodes.other().append("x")).await);
}

pub async fn a_store_that_is_not_open_refuses(harness: &impl Harness) {
    let node = harness.node().await;
    let store = node.broker.hook_store().unwrap();
    assert!(matches!(store.due(0, 1).await, Err(BrokerError::Unavailable(_))));
    let begun = store.begin(0, None, draft(HookEventKind::Reset, "one")).await;
    assert!(matches!(begun, Err(BrokerError::Unavailable(_))));
}

pub async fn a_partition_without_a_run_takes_no_changes(harness: &impl Harness) {
    let node = HookNode::join(harness, "one").await;
    let empty = PARTITION - 1;
    let answer = node.store().apply(empty, "any", vec![node.append("x")]).await.unwrap();
    assert_eq!(answer, HookApplied::OtherRun { run: None });
    assert_eq!(node.store().due(empty, 1).await.unwrap().run, None);
    let run = node.store().begin(empty, None, draft(HookEventKind::Reset, "one")).await.unwrap();
    let answer = node.store().apply(empty, &run, vec![node.append("x")]).await.unwrap();
    assert_eq!(answer, HookApplied::Done(vec![true]));
    assert_eq!(node.store().due(empty, 1).await.unwrap().run, Some(run));
    assert_eq!(node.take().await, texts(&[]), "another partition has other queues");
}

pub async fn of_concurrent_callers_one_begins_a_partition(harness: &impl Harness) {
    let nodes = TwoNodes::join(harness).await;
    let (one, other) = (&nodes.one, nodes.other());
    let begin = |node| async move {
        let reset = draft(HookEventKind::Reset, "x");
        HookNode::store(node).begin(PARTITION, Some(&one.run), reset).await.unwrap()
    };
    let runs = join_all([one, other, one, other].map(begin)).await;
    assert!(runs.iter().all(|run| *run == runs[0] && *run != one.run), "{runs:?}");
    assert_eq!(one.take().await, texts(&["Reset"]));
}

pub async fn a_partition_that_begins_anew_has_nothing_but_its_queues(harness: &impl Harness) {
    let node = HookNode::join(harness, "one").await;
    node.apply(vec![node.connect("a", "joe"), node.enter(&channel("news")), node.lose("a", "joe")]).await;
    node.apply(vec![node.connect("b", "joe"), node.enter(&channel("old"))]).await;
    node.change(node.leave(&channel("old"), harness.span())).await;
    let before = ids(&node.events().await);
    let reset = draft(HookEventKind::Reset, "one");
    let run = node.store().begin(PARTITION, Some(&node.run), reset).await.unwrap();
    let stale = node.store().apply(PARTITION, &node.run, vec![node.append("x")]).await.unwrap();
    assert_eq!(stale, HookApplied::OtherRun { run: Some(Arc::clone(&run)) });
    assert_eq!(node.store().nodes(PARTITION).await.unwrap(), [""; 0]);
    let node = HookNode { run, ..node };
    node.apply(vec![node.connect("b", "joe"), node.connect("a", "joe"), node.enter(&channel("news"))]).await;
    harness.pass(2 * harness.span()).await;
    assert_eq!(node.due().await, []);
    let events = node.events().await;
    assert_eq!(ids(&events)[..before.len()], before);
    let shorts: Vec<String> = events[before.len()..].iter().map(super::hook_fixture::short).collect();
    assert_eq!(shorts, texts(&["Reset", "Connected b joe 1 1", "Connected a joe 1 2", "Occupied news"]));
    let second = node.head(SECOND).await.events;
    assert_eq!(second.iter().map(|event| event.draft.kind).collect::<Vec<_>>(), [HookEventKind::Reset]);
    assert_eq!(node.head(FIRST).await.length as usize, events.len());
}

pub async fn a_call_repeated_after_an_unknown_outcome_tells_nothing_twice(harness: &impl Harness) {
    let node = HookNode::join(harness, "one").await;
    let (news, joe) = (channel("news"), member("news", "joe"));
    let zero = std::time::Duration::ZERO;
    let begin = vec![node.connect("a", "joe"), node.enter(&news), node.enter(&joe)];
    assert_eq!(node.apply(begin.clone()).await, [true; 3]);
    assert_eq!(node.apply(begin).await, [false; 3]);
    let end = vec![node.leave(&joe, zero), node.leave(&news, zero), node.lose("a", "joe")];
    assert_eq!(node.apply(end.clone()).await, [true; 3]);
    assert_eq!(node.apply(end).await, [false; 3]);
    let events = [
        "Connected a joe 1 1",
        "Occupied news",
        "MemberAdded news joe",
        "MemberRemoved news joe",
        "Vacated news",
        "Disconnected a joe 2 0",
    ];
    assert_eq!(node.take().await, texts(&events));
}
