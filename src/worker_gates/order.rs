//! In which order workers come back, and when.

use crate::primitives::Instant;

/// A worker that is to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returning<K> {
    pub worker: K,
    pub order: i64,
    pub delay_s: i64,
}

/// When each of them runs again, in the order in which they do. Those of one number count their delays from the moment at which the last
/// one of the number before has come back; those of the first number from `now`.
#[must_use]
pub fn schedule<K: Ord>(mut returning: Vec<Returning<K>>, now: Instant) -> Vec<(K, Instant)> {
    returning.sort_by(|a, b| (a.order, a.delay_s, &a.worker).cmp(&(b.order, b.delay_s, &b.worker)));
    let (mut base, mut last, mut order) = (now, now, None);
    let mut times = Vec::with_capacity(returning.len());
    for one in returning {
        if order != Some(one.order) {
            (base, order) = (last, Some(one.order));
        }
        let at = Instant::from_micros(base.as_micros().saturating_add(one.delay_s.saturating_mul(1_000_000)));
        last = last.max(at);
        times.push((one.worker, at));
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_waits_for_the_one_before() {
        let one = |worker, order, delay_s| Returning { worker, order, delay_s };
        let at = |seconds: i64| Instant::from_micros(seconds * 1_000_000);
        let all = vec![
            one("mail", 20, 0),
            one("bills", 10, 60),
            one("ledger", 10, 30),
            one("search", 0, 5),
            one("web", 0, 0),
        ];
        assert_eq!(
            schedule(all, at(1_000)),
            [
                ("web", at(1_000)),
                ("search", at(1_005)),
                ("ledger", at(1_035)),
                ("bills", at(1_065)),
                ("mail", at(1_065))
            ]
        );
        assert_eq!(schedule(Vec::<Returning<&str>>::new(), at(0)), []);
    }
}
