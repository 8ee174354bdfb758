//! A map that knows what was used last. Looking something up changes nothing, so readers need no lock of their own.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

pub(crate) struct Lru<K, V> {
    entries: HashMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
    last: u64,
}

impl<K: Hash + Eq + Clone, V> Lru<K, V> {
    pub(crate) fn new() -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), last: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// Makes it the one that was used last.
    pub(crate) fn touch<Q: Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        if let Some((at, _)) = self.entries.get_mut(key)
            && let Some(key) = self.order.remove(at)
        {
            self.last += 1;
            *at = self.last;
            self.order.insert(self.last, key);
        }
    }

    /// A new one counts as used; one that replaces another keeps its place.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some((_, before)) = self.entries.get_mut(&key) {
            return Some(std::mem::replace(before, value));
        }
        self.last += 1;
        self.order.insert(self.last, key.clone());
        self.entries.insert(key, (self.last, value));
        None
    }

    /// Takes out the least recently used one.
    pub(crate) fn pop(&mut self) -> Option<V> {
        let (_, key) = self.order.pop_first()?;
        self.entries.remove(&key).map(|(_, value)| value)
    }

    /// The least recently used first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.order.values().filter_map(|key| self.entries.get(key).map(|(_, value)| (key, value)))
    }
}
