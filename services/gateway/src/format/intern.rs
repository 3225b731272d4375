//! Values that many share under a small number, kept as long as they are used: a lookup by number costs the same
//! however many there are.

use std::{collections::HashMap, hash::Hash};

/// Values under numbers. Each value was made for a key, and equal keys share it.
///
/// Bounded by its users: an entry goes with the last [`Interner::release`], and its number is used again.
pub(super) struct Interner<K, V> {
    ids: HashMap<K, u32>,
    entries: Vec<Option<Interned<K, V>>>,
    free: Vec<u32>,
}

struct Interned<K, V> {
    key: K,
    users: u32,
    value: V,
}

impl<K, V> Default for Interner<K, V> {
    fn default() -> Self {
        Self { ids: HashMap::new(), entries: Vec::new(), free: Vec::new() }
    }
}

impl<K: Clone + Eq + Hash, V> Interner<K, V> {
    /// The number of a key for one more user; its value is made if the key is new.
    pub(super) fn acquire(&mut self, key: &K, make: impl FnOnce() -> V) -> u32 {
        if let Some(id) = self.ids.get(key) {
            if let Some(Some(entry)) = self.entries.get_mut(*id as usize) {
                entry.users += 1;
            }
            return *id;
        }
        let entry = Some(Interned { key: key.clone(), users: 1, value: make() });
        let id = self.free.pop().unwrap_or_else(|| u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        match self.entries.get_mut(id as usize) {
            Some(slot) => *slot = entry,
            None => self.entries.push(entry),
        }
        self.ids.insert(key.clone(), id);
        id
    }

    /// One user less. Returns the value if that was the last.
    pub(super) fn release(&mut self, id: u32) -> Option<V> {
        let slot = self.entries.get_mut(id as usize)?;
        let entry = slot.as_mut()?;
        entry.users -= 1;
        if entry.users > 0 {
            return None;
        }
        let entry = slot.take()?;
        self.ids.remove(&entry.key);
        self.free.push(id);
        if self.ids.is_empty() {
            // Give the capacity back: the many that were here may not come again.
            *self = Self::default();
        }
        Some(entry.value)
    }

    /// The key of a number.
    pub(super) fn key(&self, id: u32) -> Option<&K> {
        self.entries.get(id as usize)?.as_ref().map(|entry| &entry.key)
    }

    /// The value of a number, and how many use it.
    pub(super) fn get(&self, id: u32) -> Option<(&V, u32)> {
        self.entries.get(id as usize)?.as_ref().map(|entry| (&entry.value, entry.users))
    }

    /// The value of a number, to change.
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut V> {
        self.entries.get_mut(id as usize)?.as_mut().map(|entry| &mut entry.value)
    }

    /// The number of keys that have a number.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_keys_share_a_number_until_the_last_user_goes() {
        let mut interner: Interner<String, usize> = Interner::default();
        let first = interner.acquire(&"a".to_owned(), || 1);
        assert_eq!(interner.acquire(&"a".to_owned(), || 2), first);
        let other = interner.acquire(&"b".to_owned(), || 3);
        assert_ne!(first, other);
        assert_eq!(interner.get(first), Some((&1, 2)));
        assert_eq!(interner.release(first), None);
        assert_eq!(interner.release(first), Some(1));
        assert_eq!(interner.get(first), None);
        assert_eq!(interner.key(other), Some(&"b".to_owned()));
        // The number is used again, so the table is as large as the most keys there ever were at a time.
        assert_eq!(interner.acquire(&"c".to_owned(), || 4), first);
        assert_eq!(interner.release(first), Some(4));
        assert_eq!(interner.release(other), Some(3));
        assert_eq!((interner.len(), interner.entries.len()), (0, 0));
    }
}
