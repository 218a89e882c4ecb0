//! Figures of one turn and what is made of many: percentiles by nearest rank, medians over rounds, and
//! ratios within a round, which a noisy machine changes least.

use serde::Serialize;

use crate::servers::System;

/// One store, so many writers, one turn.
#[derive(Clone, Debug, Serialize)]
pub struct Turn {
    pub kind: &'static str,
    pub round: usize,
    pub system: &'static str,
    pub writers: usize,
    pub seconds: f64,
    /// Acknowledged.
    pub commands: usize,
    /// Refused by the store.
    pub refused: usize,
    pub rate: f64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
    /// Processor time of all servers, per command.
    pub cpu_us: f64,
    /// The same of the writers.
    pub writers_cpu_us: f64,
    /// Written to the disk by all servers, per command.
    pub written: f64,
    /// Holdfast alone: between the leader's apply and a follower's, both followers together.
    pub lag_p50_us: Option<i64>,
    pub lag_p99_us: Option<i64>,
    pub load: f64,
}

/// Disk use of one store after so many commands.
#[derive(Clone, Debug, Serialize)]
pub struct Growth {
    pub kind: &'static str,
    pub system: &'static str,
    pub commands: usize,
    /// Of the fullest member.
    pub bytes: u64,
    /// The same by the folders in it.
    pub parts: Vec<(String, u64)>,
    pub seconds: f64,
}

/// What a turn is asked for.
pub type Figure = fn(&Turn) -> f64;

/// By nearest rank; of nothing it is the least there is.
pub fn percentile<T: Copy + Default>(sorted: &[T], percent: usize) -> T {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// Median, least and most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    pub fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => (values.get(middle)? + values.get(middle.checked_sub(1)?)?) / 2.0,
        };
        Some(Spread {
            median,
            least: *values.first()?,
            most: *values.last()?,
        })
    }
}

/// One figure of one store over all rounds.
pub fn of(turns: &[Turn], system: System, writers: usize, figure: Figure) -> Option<Spread> {
    let mine = turns.iter().filter(|t| t.system == system.name());
    Spread::of(mine.filter(|t| t.writers == writers).map(figure).collect())
}

/// Holdfast's figure by the peer's, of each round.
pub fn ratio(turns: &[Turn], peer: System, writers: usize, figure: Figure) -> Option<Spread> {
    let find = |system: System, round| {
        turns
            .iter()
            .find(|t| t.system == system.name() && t.writers == writers && t.round == round)
            .map(figure)
    };
    let rounds = turns.iter().map(|t| t.round).max()?;
    let both = (1..=rounds).filter_map(|r| Some((find(System::Holdfast, r)?, find(peer, r)?)));
    Spread::of(both.map(|(own, peers)| own / peers).collect())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn turn(round: usize, system: System, writers: usize, rate: f64) -> Turn {
        Turn {
            kind: "turn",
            round,
            system: system.name(),
            writers,
            seconds: 1.0,
            commands: rate as usize,
            refused: 0,
            rate,
            p50_us: 1_000,
            p99_us: 2_000,
            max_us: 3_000,
            cpu_us: 10.0,
            writers_cpu_us: 5.0,
            written: 900.0,
            lag_p50_us: (system == System::Holdfast).then_some(300),
            lag_p99_us: (system == System::Holdfast).then_some(900),
            load: 0.5,
        }
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(
            (percentile(&hundred, 50), percentile(&hundred, 99)),
            (50, 99)
        );
        assert_eq!(percentile(&[5, 6], 99), 6);
        assert_eq!(percentile::<u64>(&[], 50), 0);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let spread = Spread::of(vec![4.0, 1.0, 2.0, 9.0]).unwrap();
        assert_eq!((spread.median, spread.least, spread.most), (3.0, 1.0, 9.0));
        assert_eq!(Spread::of(Vec::new()), None);
        assert_eq!(Spread::of(vec![2.0]).unwrap().median, 2.0);
    }

    /// The second round ran on a machine half as fast: the ratio does not show it.
    #[test]
    fn ratios_are_taken_within_a_round() {
        let turns = [
            turn(1, System::Holdfast, 64, 4_000.0),
            turn(1, System::Etcd, 64, 1_000.0),
            turn(2, System::Holdfast, 64, 2_000.0),
            turn(2, System::Etcd, 64, 500.0),
            turn(2, System::Etcd, 1, 1.0),
        ];
        let found = ratio(&turns, System::Etcd, 64, |t| t.rate).unwrap();
        assert_eq!((found.median, found.least, found.most), (4.0, 4.0, 4.0));
        assert_eq!(ratio(&turns, System::Redis, 64, |t| t.rate), None);
        let own = of(&turns, System::Holdfast, 64, |t| t.rate).unwrap();
        assert_eq!(own.median, 3_000.0);
    }
}
