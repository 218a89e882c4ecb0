//! A map whose copy shares its values: what a snapshot takes of the largest tables.
//!
//! A copy costs its tree and a count per value, whatever the values hold. Apply goes on meanwhile: a value
//! that the copy still has is copied itself when it is changed for the first time. It is written,
//! compared and hashed as the plain map.

use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, btree_map};
use std::hash::Hash;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SharedMap<K: Ord, V>(BTreeMap<K, Arc<V>>);

impl<K: Ord, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        SharedMap(BTreeMap::new())
    }
}

impl<K: Ord, V> From<BTreeMap<K, V>> for SharedMap<K, V> {
    fn from(plain: BTreeMap<K, V>) -> Self {
        let shared = plain.into_iter().map(|(key, value)| (key, value.into()));
        SharedMap(shared.collect())
    }
}

impl<K: Ord + Serialize, V: Serialize> Serialize for SharedMap<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<K: Ord, V> SharedMap<K, V> {
    pub fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key).map(Arc::as_ref)
    }

    pub fn contains_key(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn keys(&self) -> btree_map::Keys<'_, K, Arc<V>> {
        self.0.keys()
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.values().map(Arc::as_ref)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value.as_ref()))
    }

    pub fn insert(&mut self, key: K, value: V) {
        self.0.insert(key, value.into());
    }

    /// Whether it was there.
    pub fn remove(&mut self, key: &K) -> bool {
        self.0.remove(key).is_some()
    }
}

impl<K: Ord, V: Clone> SharedMap<K, V> {
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.0.get_mut(key).map(Arc::make_mut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_what_it_had_when_the_map_is_changed() {
        let plain = BTreeMap::from([(1, "one".to_owned()), (2, "two".to_owned())]);
        let mut map = SharedMap::from(plain);
        let copy = map.clone();
        map.get_mut(&1).expect("it is there").push('!');
        map.insert(3, "three".to_owned());
        assert!(map.remove(&2) && !map.remove(&2));
        let all = |map: &SharedMap<i32, String>| {
            let all = map.iter().map(|(key, value)| format!("{key} {value}"));
            all.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(all(&map), "1 one!, 3 three");
        assert_eq!(all(&copy), "1 one, 2 two");
    }
}
