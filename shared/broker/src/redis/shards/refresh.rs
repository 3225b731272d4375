//! Following the map of a Redis Cluster: connections to servers that appear, and what goes with slots that get another server.
//! `docs/architecture.md` §5.5; record 11.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    Routes, Shards,
    shard::Shard,
    slots::{Address, SLOTS, Slot, SlotMap, slot_of},
};

impl Shards {
    /// Follows a new map: opens and closes connections, and moves interest and requests to the slots' new servers.
    pub(super) fn follow(&self, map: &SlotMap) {
        let mut routes = self.routes.write();
        let routes = &mut *routes;
        let mut moved: HashMap<Address, HashSet<Slot>> = HashMap::new();
        for (first, last, address) in &map.ranges {
            if !routes.shards.contains_key(address) {
                tracing::info!(server = %Shard::name(address), "Redis Cluster server found");
                routes
                    .shards
                    .insert(address.clone(), self.open(Some(address), &self.canary_in(*first, *last)));
            }
            let Some(shard) = routes.shards.get(address).cloned() else { continue };
            for slot in *first..=*last {
                let Some(owner) = routes.owners.get_mut(usize::from(slot)) else { continue };
                let before = owner.replace(Arc::clone(&shard));
                if let Some(before) = before.filter(|before| !Arc::ptr_eq(before, &shard)) {
                    if let Some((address, _)) =
                        routes.shards.iter().find(|(_, shard)| Arc::ptr_eq(shard, &before))
                    {
                        moved.entry(address.clone()).or_default().insert(slot);
                    }
                    if let Some(redirects) = &self.common.redirects {
                        redirects.owner_changed(slot);
                    }
                }
            }
        }
        for (address, slots) in &moved {
            let Some(shard) = routes.shards.get(address).cloned() else { continue };
            tracing::info!(server = %Shard::name(address), slots = slots.len(), "Redis Cluster slots moved");
            let mut by_owner: HashMap<Slot, Vec<_>> = HashMap::new();
            for (name, wanted) in shard.pubsub.hand_over(|name| slots.contains(&slot_of(name.as_bytes()))) {
                by_owner.entry(slot_of(name.as_bytes())).or_default().push((name, wanted));
            }
            for (slot, given) in by_owner {
                if let Some(owner) = routes.owner(slot) {
                    owner.pubsub.take_over(given);
                }
            }
            self.retire_or_renew(routes, address, &shard);
        }
        for (name, matter) in std::mem::take(&mut *self.first_wanted.lock()) {
            if let Some(owner) = routes.owner(slot_of(name.as_bytes())) {
                owner.pubsub.want(vec![(name, matter)], None, drop);
                owner.pubsub.wake();
            }
        }
        routes.known.clone_from(&map.servers);
        self.map_trouble.send_replace(None);
    }

    /// Handles a server that lost slots: without any it is disconnected, else its canary moves to a slot that it has.
    fn retire_or_renew(&self, routes: &mut Routes, address: &Address, shard: &Arc<Shard>) {
        let is_its = |slot: &usize| routes.owners.get(*slot).is_some_and(|owner| is(owner.as_ref(), shard));
        let Some(slot) = (0..usize::from(SLOTS)).find(is_its) else {
            tracing::info!(server = %Shard::name(address), "Redis Cluster server without slots; disconnecting");
            routes.shards.remove(address);
            if let Some(runtime) = self.runtime.get() {
                shard.retire(runtime, self.settings.request_timeout);
            }
            return;
        };
        if !is(routes.owner(shard.pubsub.canary(|canary| slot_of(canary.name().as_bytes()))), shard)
            && let Ok(slot) = Slot::try_from(slot)
        {
            let name = self.canary_in(slot, slot);
            shard.pubsub.canary(|canary| canary.set_name(name));
        }
    }

    /// The name of a canary channel in one of these slots. There is always one: names hash evenly.
    fn canary_in(&self, first: Slot, last: Slot) -> String {
        let mut number = 0_u64;
        loop {
            let name = self.keys.canary(&format!("{}-{number}", self.node));
            if (first..=last).contains(&slot_of(name.as_bytes())) {
                return name;
            }
            number += 1;
        }
    }

    /// Sends what waited for its slot to have one owner.
    pub(super) fn send_waiting(&self) {
        if let Some(redirects) = &self.common.redirects {
            let routes = self.routes.write();
            redirects.close_slots(|slot, request| self.put(&routes, slot, request));
        }
    }
}

fn is(owner: Option<&Arc<Shard>>, shard: &Arc<Shard>) -> bool {
    owner.is_some_and(|owner| Arc::ptr_eq(owner, shard))
}
