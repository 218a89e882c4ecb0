//! How soon agents and callers met, from what the Asterisks told: pure, no clock.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_sim::Moment;

use crate::orders::{LINE_MARK, LINE_PHONES, Loaded, OPEN_MARK};

/// A moment and when it was, in microseconds.
pub type Seen = (i64, Moment);

/// Fills in the times of a load. Only what begins between `from` and `until` counts; `agents` are in the
/// queue of the callers with [`OPEN_MARK`].
pub fn read(seen: &[Seen], from: i64, until: i64, agents: usize, into: &mut Loaded) {
    let counts = |at: i64| (from..until).contains(&at);
    let mut waiting: BTreeMap<&str, (i64, bool)> = BTreeMap::new();
    let mut busy: BTreeSet<&str> = BTreeSet::new();
    let mut free: BTreeMap<&str, i64> = BTreeMap::new();
    for (at, moment) in seen {
        match moment {
            Moment::Arrived { number } if number.starts_with(OPEN_MARK) => {
                let somebody = agents.saturating_sub(busy.len()) > waiting.len();
                waiting.insert(number, (*at, somebody));
            }
            Moment::Arrived { .. } => {}
            Moment::Called { phone, number } if number.starts_with(OPEN_MARK) => {
                busy.insert(phone);
                if let Some((arrived, true)) = waiting.remove(number.as_str())
                    && counts(arrived)
                {
                    into.arrival_us.push(at - arrived);
                }
            }
            Moment::Called { phone, number } if number.starts_with(LINE_MARK) => {
                if let Some(since) = free.remove(phone.as_str())
                    && counts(since)
                {
                    into.free_us.push(at - since);
                }
            }
            Moment::Called { .. } => {}
            Moment::Over { phone } if serves_line(phone) => {
                free.insert(phone, *at);
            }
            Moment::Over { phone } => {
                busy.remove(phone.as_str());
            }
        }
    }
    into.still_free += free.values().filter(|since| counts(**since)).count();
}

fn serves_line(phone: &str) -> bool {
    phone
        .parse()
        .is_ok_and(|number: usize| number >= LINE_PHONES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(number: &str) -> Moment {
        let number = number.into();
        Moment::Arrived { number }
    }

    fn called(phone: &str, number: &str) -> Moment {
        let (phone, number) = (phone.into(), number.into());
        Moment::Called { phone, number }
    }

    fn over(phone: &str) -> Moment {
        let phone = phone.into();
        Moment::Over { phone }
    }

    #[test]
    fn who_finds_nobody_free_is_not_counted_and_neither_is_who_comes_too_early() {
        let seen = [
            (5, arrived("70")),
            (9, called("20000", "70")),
            (20, arrived("71")),
            (23, called("20001", "71")),
            (30, arrived("72")),
            (40, over("20000")),
            (45, called("20000", "72")),
        ];
        let mut loaded = Loaded::default();
        read(&seen, 10, 100, 2, &mut loaded);
        assert_eq!(loaded.arrival_us, [3]);
        assert_eq!(loaded.free_us, [0_i64; 0]);
    }

    #[test]
    fn an_agent_with_a_line_is_free_until_his_next_leg() {
        let seen = [
            (10, called("30000", "80")),
            (20, over("30000")),
            (27, called("30000", "81")),
            (50, over("30000")),
            (60, over("20000")),
        ];
        let mut loaded = Loaded::default();
        read(&seen, 0, 100, 1, &mut loaded);
        assert_eq!((loaded.free_us, loaded.still_free), (vec![7], 1));
    }
}
