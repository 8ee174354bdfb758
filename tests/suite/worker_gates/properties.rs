//! Whatever happens in whatever order: one holder at a time, tokens that grow, nobody let in at a paused gate.

use changeover::primitives::Instant;
use changeover::worker_gates::{
    Claim, Gate, Lease, Refusal, Renewal, Returning, Settings, State, Switch, acquire, release, renew, schedule,
};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Deed {
    Wait(i64),
    Acquire(usize),
    Renew(usize),
    Release(usize),
    Pause(bool),
    Resume(i64),
    Lengthen(i64),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (0i64..4_000_000).prop_map(Deed::Wait),
        4 => (0usize..3).prop_map(Deed::Acquire),
        4 => (0usize..3).prop_map(Deed::Renew),
        2 => (0usize..3).prop_map(Deed::Release),
        1 => any::<bool>().prop_map(Deed::Pause),
        1 => (0i64..5).prop_map(Deed::Resume),
        1 => (2i64..6).prop_map(Deed::Lengthen),
    ]
}

/// What workers believe: each the latest lease it was given, until when by its own count.
struct World {
    now: i64,
    gate: Gate,
    stored: Option<Lease>,
    believed: [Option<Lease>; 3],
    tokens: Vec<i64>,
}

impl World {
    fn at(&self) -> Instant {
        Instant::from_micros(self.now)
    }

    /// A worker acts only while its lease lasts by its own count and nobody told it to stop.
    fn acting(&self) -> Vec<usize> {
        let acts = |lease: &Option<Lease>| lease.as_ref().is_some_and(|lease| self.at() < lease.expires_at);
        (0..3).filter(|worker| acts(&self.believed[*worker])).collect()
    }

    fn step(&mut self, deed: &Deed) {
        let now = self.at();
        match *deed {
            Deed::Wait(micros) => self.now += micros,
            Deed::Acquire(worker) => match acquire(&self.gate, self.stored.as_ref(), &worker.to_string(), now) {
                Ok(lease) => {
                    assert_eq!(self.gate.state_at(now), State::Running);
                    assert!(self.tokens.last().is_none_or(|last| *last < lease.fencing));
                    self.tokens.push(lease.fencing);
                    self.stored = Some(lease.clone());
                    self.believed[worker] = Some(lease);
                }
                Err(Refusal::Paused(state)) => assert_ne!(state, State::Running),
                Err(Refusal::Held { expires_at, .. }) => assert!(now < expires_at),
                Err(Refusal::NotSingle) => panic!("it is"),
            },
            Deed::Renew(worker) => {
                let Some(mine) = self.believed[worker].clone() else { return };
                let holder = worker.to_string();
                let claim = Claim { holder: &holder, fencing: mine.fencing };
                match renew(&self.gate, self.stored.as_ref(), &claim, now) {
                    Renewal::Renewed(lease) => {
                        assert_eq!(Some(&lease.fencing), self.tokens.last(), "only the newest token is prolonged");
                        assert!(lease.expires_at >= mine.expires_at);
                        self.stored = Some(lease.clone());
                        self.believed[worker] = Some(lease);
                    }
                    // It goes on stopping, and acts no longer than its lease lasts.
                    Renewal::Stop(lease, state) => {
                        assert_ne!(state, State::Running);
                        assert_eq!(lease.expires_at, self.stored.as_ref().unwrap().expires_at);
                        self.stored = Some(lease);
                    }
                    Renewal::Lost => self.believed[worker] = None,
                }
            }
            Deed::Release(worker) => {
                let Some(mine) = self.believed[worker].take() else { return };
                let holder = worker.to_string();
                let claim = Claim { holder: &holder, fencing: mine.fencing };
                if let Some(lease) = release(self.stored.as_ref(), &claim, now) {
                    self.stored = Some(lease);
                }
            }
            Deed::Pause(with_all) => self.gate = self.gate.paused(with_all),
            Deed::Resume(seconds) => {
                self.gate = self.gate.resumed(Instant::from_micros(self.now + seconds * 1_000_000))
            }
            Deed::Lengthen(seconds) => self.gate.settings.lease_s = seconds,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_two_at_once_whatever_happens(deeds in prop::collection::vec(deed(), 0..80)) {
        let settings = Settings { single_instance: true, lease_s: 3, ..Settings::default() };
        let gate = Gate { settings, switch: Switch::Run, resume_at: None };
        let mut world =
            World { now: 1_000_000_000, gate, stored: None, believed: [None, None, None], tokens: Vec::new() };
        for deed in &deeds {
            world.step(deed);
            prop_assert!(world.acting().len() <= 1, "{:?} act after {deed:?}", world.acting());
        }
    }

    #[test]
    fn workers_come_back_in_order(all in prop::collection::vec((0i64..5, 0i64..100), 0..20), start in 0i64..1_000_000) {
        let returning: Vec<Returning<usize>> = all
            .iter()
            .enumerate()
            .map(|(worker, (order, delay_s))| Returning { worker, order: *order, delay_s: *delay_s })
            .collect();
        let times = schedule(returning, Instant::from_micros(start));
        prop_assert_eq!(times.len(), all.len());
        prop_assert!(times.windows(2).all(|pair| pair[0].1 <= pair[1].1));
        for (worker, at) in &times {
            let (order, delay_s) = all[*worker];
            let before = times.iter().filter(|(other, _)| all[*other].0 < order).map(|(_, at)| at.as_micros()).max();
            prop_assert_eq!(at.as_micros(), before.unwrap_or(start) + delay_s * 1_000_000);
        }
    }
}
