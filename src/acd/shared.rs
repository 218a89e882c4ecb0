//! A map whose copy shares what it holds: what a snapshot takes of the largest tables.
//!
//! Keys and values lie in order on leaves of up to 64. A copy costs a count per leaf, however many
//! values there are and whatever they hold. Apply goes on meanwhile: a leaf that the copy still has, and a
//! value on it, are copied themselves when they are changed for the first time. It is written, compared and
//! hashed as the plain map.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Values on one leaf at most. The fewer there are, the more leaves a copy counts; the more there are,
/// the longer the first change on a leaf takes.
const LEAF: usize = 64;

/// In order of the keys.
type Leaf<K, V> = Vec<(K, Arc<V>)>;

#[derive(Clone, Debug)]
pub(crate) struct SharedMap<K: Ord, V> {
    /// By a key that no key on the leaf is below, and all on the leaf before are. None is empty.
    leaves: BTreeMap<K, Arc<Leaf<K, V>>>,
    len: usize,
}

impl<K: Ord, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        SharedMap {
            leaves: BTreeMap::new(),
            len: 0,
        }
    }
}

impl<K: Ord + Clone, V> From<BTreeMap<K, V>> for SharedMap<K, V> {
    fn from(plain: BTreeMap<K, V>) -> Self {
        let mut map = SharedMap::default();
        for (key, value) in plain {
            map.insert(key, value);
        }
        map
    }
}

impl<K: Ord + PartialEq, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Ord, V: Eq> Eq for SharedMap<K, V> {}

impl<K: Ord + Hash, V: Hash> Hash for SharedMap<K, V> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.len.hash(hasher);
        self.iter().for_each(|entry| entry.hash(hasher));
    }
}

impl<K: Ord + Serialize, V: Serialize> Serialize for SharedMap<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len))?;
        for (key, value) in self.iter() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<K: Ord, V> SharedMap<K, V> {
    pub fn get(&self, key: &K) -> Option<&V> {
        let leaf = self.leaves.range(..=key).next_back()?.1;
        let place = place(leaf, key).ok()?;
        Some(leaf[place].1.as_ref())
    }

    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// In order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let all = self.leaves.values().flat_map(|leaf| leaf.iter());
        all.map(|(key, value)| (key, value.as_ref()))
    }
}

impl<K: Ord + Clone, V> SharedMap<K, V> {
    pub fn insert(&mut self, key: K, value: V) {
        if self.leaves.first_key_value().is_none_or(|it| key < *it.0) {
            // The first leaf is for all that comes before it too.
            let first = self.leaves.pop_first().map(|(_, leaf)| leaf);
            self.leaves.insert(key.clone(), first.unwrap_or_default());
        }
        let Some((_, leaf)) = self.leaves.range_mut(..=&key).next_back() else {
            return;
        };
        let leaf = Arc::make_mut(leaf);
        let place = match place(leaf, &key) {
            Ok(place) => {
                leaf[place].1 = value.into();
                return;
            }
            Err(place) => place,
        };
        leaf.insert(place, (key, value.into()));
        self.len += 1;
        if leaf.len() > LEAF {
            // Who comes behind all of them begins a leaf, so that a map that grows at its end has full ones.
            let behind = leaf.split_off(if place == LEAF { LEAF } else { LEAF / 2 });
            self.leaves.insert(behind[0].0.clone(), behind.into());
        }
    }

    /// Whether it was there.
    pub fn remove(&mut self, key: &K) -> bool {
        let Some((bound, leaf)) = self.leaves.range_mut(..=key).next_back() else {
            return false;
        };
        let Ok(place) = place(leaf, key) else {
            return false;
        };
        self.len -= 1;
        if leaf.len() > 1 {
            Arc::make_mut(leaf).remove(place);
        } else {
            let bound = bound.clone();
            self.leaves.remove(&bound);
        }
        true
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let leaf = self.leaves.range_mut(..=key).next_back()?.1;
        let place = place(leaf, key).ok()?;
        Some(Arc::make_mut(&mut Arc::make_mut(leaf)[place].1))
    }
}

/// Where a key lies on a leaf, or else would.
fn place<K: Ord, V>(leaf: &Leaf<K, V>, key: &K) -> Result<usize, usize> {
    leaf.binary_search_by(|(of, _)| of.cmp(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Map = SharedMap<u32, String>;

    fn all(map: &Map) -> Vec<(u32, String)> {
        let all = map.iter().map(|(key, value)| (*key, value.clone()));
        all.collect()
    }

    #[test]
    fn a_copy_keeps_what_it_had_when_the_map_is_changed() {
        let plain = BTreeMap::from([(1, "one".to_owned()), (2, "two".to_owned())]);
        let mut map = SharedMap::from(plain);
        let copy = map.clone();
        map.get_mut(&1).expect("it is there").push('!');
        map.insert(3, "three".to_owned());
        assert!(map.remove(&2) && !map.remove(&2));
        let all = |map: &Map| {
            let all = map.iter().map(|(key, value)| format!("{key} {value}"));
            all.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(all(&map), "1 one!, 3 three");
        assert_eq!(all(&copy), "1 one, 2 two");
    }

    /// Keys in order, against it and mixed; then most of them go again. Copies are made all along, and
    /// each keeps what it had.
    #[test]
    fn it_holds_what_the_plain_map_holds_and_so_do_its_copies() {
        let orders: [fn(u32) -> u32; 3] = [|n| n, |n| 1_000 - n, |n| n * 617 % 1_009];
        for order in orders {
            let (mut map, mut plain) = (Map::default(), BTreeMap::new());
            let mut copies = Vec::new();
            for turn in 0..2_900 {
                let key = order(turn % 1_000);
                match turn {
                    0..1_000 => {
                        map.insert(key, turn.to_string());
                        plain.insert(key, turn.to_string());
                    }
                    1_000..2_000 => {
                        map.get_mut(&key).expect("it is there").push('!');
                        plain.get_mut(&key).expect("it is there").push('!');
                    }
                    _ => assert_eq!(map.remove(&key), plain.remove(&key).is_some()),
                }
                assert_eq!((map.len(), map.get(&key)), (plain.len(), plain.get(&key)));
                if turn % 97 == 0 {
                    copies.push((map.clone(), plain.clone()));
                }
            }
            copies.push((map, plain));
            for (map, plain) in copies {
                assert_eq!(all(&map), plain.clone().into_iter().collect::<Vec<_>>());
                assert!(
                    map.leaves
                        .values()
                        .all(|leaf| (1..=LEAF).contains(&leaf.len()))
                );
                assert_eq!(crate::digest::digest(&map), crate::digest::digest(&plain));
                assert_eq!(map, plain.into());
            }
        }
    }

    /// What a copy costs while nothing may be applied, and what it costs the first change behind it.
    #[test]
    fn a_copy_shares_whole_leaves_and_a_change_copies_one_of_them() {
        let mut map: Map = SharedMap::default();
        (0..10_000).for_each(|key| map.insert(key, String::new()));
        assert_eq!(map.leaves.len(), 10_000_usize.div_ceil(LEAF));
        let copy = map.clone();
        map.get_mut(&5_000).expect("it is there").push('!');
        let same = map.leaves.values().zip(copy.leaves.values());
        let apart = same.filter(|(one, other)| !Arc::ptr_eq(one, other)).count();
        assert_eq!(apart, 1);
    }
}
