//! Who may hold the lease of a worker. A lease ends by itself; each new one has a greater fencing token than all before, so that whoever
//! stores what the holder does can refuse one that comes too late.
//!
//! A lease that has run out is lost, also while nobody else wanted it: then the holder and everybody else believe the same. A holder that
//! is told of a pause keeps its lease until it gives it back or it runs out, so that nobody starts while it is still stopping; but the
//! lease is never prolonged again.

use super::gate::{Gate, State};
use crate::primitives::Instant;

/// The latest lease of a worker, whether it is still held or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub holder: String,
    pub fencing: i64,
    pub acquired_at: Instant,
    pub expires_at: Instant,
    /// When its holder was told to stop.
    pub stopped_at: Option<Instant>,
}

impl Lease {
    #[must_use]
    pub fn is_held_at(&self, now: Instant) -> bool {
        now < self.expires_at
    }

    fn is_of(&self, claim: &Claim<'_>) -> bool {
        self.holder == claim.holder && self.fencing == claim.fencing
    }
}

/// What a holder shows to prove that a lease is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim<'a> {
    pub holder: &'a str,
    pub fencing: i64,
}

/// Why a lease is not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Any number of instances may run: there is no lease.
    NotSingle,
    Paused(State),
    Held {
        holder: String,
        expires_at: Instant,
    },
}

/// What a heartbeat is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renewal {
    Renewed(Lease),
    /// Stop: the lease is held until it ends or is given back, and is not prolonged any more.
    Stop(Lease, State),
    /// It is not held any more.
    Lost,
}

/// Gives the lease to `holder` if nobody has it.
pub fn acquire(gate: &Gate, before: Option<&Lease>, holder: &str, now: Instant) -> Result<Lease, Refusal> {
    if !gate.settings.single_instance {
        return Err(Refusal::NotSingle);
    }
    let state = gate.state_at(now);
    if state != State::Running {
        return Err(Refusal::Paused(state));
    }
    if let Some(held) = before.filter(|lease| lease.is_held_at(now)) {
        return Err(Refusal::Held { holder: held.holder.clone(), expires_at: held.expires_at });
    }
    Ok(Lease {
        holder: holder.to_owned(),
        fencing: next_fencing(before, now),
        acquired_at: now,
        expires_at: later(now, gate.settings.lease_s),
        stopped_at: None,
    })
}

/// Prolongs a lease, unless the gate is paused or the lease is lost.
#[must_use]
pub fn renew(gate: &Gate, before: Option<&Lease>, claim: &Claim<'_>, now: Instant) -> Renewal {
    let Some(lease) = before.filter(|lease| lease.is_of(claim) && lease.is_held_at(now)) else { return Renewal::Lost };
    match (gate.state_at(now), lease.stopped_at) {
        (State::Running, None) => {
            // Never earlier than before: the holder may not have heard that leases are shorter now.
            let expires_at = lease.expires_at.max(later(now, gate.settings.lease_s));
            Renewal::Renewed(Lease { expires_at, ..lease.clone() })
        }
        (State::Running, Some(_)) => Renewal::Lost,
        (state, stopped_at) => Renewal::Stop(Lease { stopped_at: stopped_at.or(Some(now)), ..lease.clone() }, state),
    }
}

/// The lease given back; `None` if it is not this holder's, or not the latest.
#[must_use]
pub fn release(before: Option<&Lease>, claim: &Claim<'_>, now: Instant) -> Option<Lease> {
    let lease = before.filter(|lease| lease.is_of(claim))?;
    Some(Lease { expires_at: lease.expires_at.min(now), ..lease.clone() })
}

/// Greater than every one before. The clock, in milliseconds, is its least: a database that was set back to a backup has forgotten
/// tokens that were given out since, and must not give them out again.
fn next_fencing(before: Option<&Lease>, now: Instant) -> i64 {
    before.map_or(0, |lease| lease.fencing.saturating_add(1)).max(now.as_micros() / 1_000)
}

fn later(now: Instant, seconds: i64) -> Instant {
    Instant::from_micros(now.as_micros().saturating_add(seconds.saturating_mul(1_000_000)))
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, Switch};
    use super::*;

    fn at(seconds: i64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn gate() -> Gate {
        let settings = Settings { single_instance: true, lease_s: 10, ..Settings::default() };
        Gate { settings, switch: Switch::Run, resume_at: None }
    }

    fn claim(lease: &Lease) -> Claim<'_> {
        Claim { holder: &lease.holder, fencing: lease.fencing }
    }

    #[test]
    fn one_has_it_and_who_was_away_too_long_is_told_so() {
        let first = acquire(&gate(), None, "a", at(100)).unwrap();
        assert_eq!((first.fencing, first.expires_at), (100_000, at(110)));
        assert_eq!(
            acquire(&gate(), Some(&first), "b", at(109)),
            Err(Refusal::Held { holder: "a".into(), expires_at: at(110) })
        );
        assert!(
            matches!(renew(&gate(), Some(&first), &claim(&first), at(109)), Renewal::Renewed(l) if l.expires_at == at(119))
        );
        let second = acquire(&gate(), Some(&first), "b", at(110)).unwrap();
        assert!(second.fencing > first.fencing);
        assert_eq!(renew(&gate(), Some(&second), &claim(&first), at(110)), Renewal::Lost);
        assert_eq!(release(Some(&second), &claim(&first), at(110)), None);
        assert_eq!(
            renew(&gate(), Some(&first), &claim(&first), at(110)),
            Renewal::Lost,
            "run out, though nobody wanted it"
        );
    }

    #[test]
    fn a_pause_stops_the_holder_and_nobody_starts_while_it_stops() {
        let first = acquire(&gate(), None, "a", at(100)).unwrap();
        let paused = gate().paused(false);
        let Renewal::Stop(stopped, State::Paused) = renew(&paused, Some(&first), &claim(&first), at(105)) else {
            panic!()
        };
        assert_eq!((stopped.expires_at, stopped.stopped_at), (at(110), Some(at(105))));
        let resumed = paused.resumed(at(106));
        assert!(matches!(acquire(&resumed, Some(&stopped), "b", at(107)), Err(Refusal::Held { .. })));
        assert_eq!(renew(&resumed, Some(&stopped), &claim(&stopped), at(107)), Renewal::Lost, "it was told to stop");
        let released = release(Some(&stopped), &claim(&stopped), at(108)).unwrap();
        assert!(acquire(&resumed, Some(&released), "b", at(108)).unwrap().fencing > first.fencing);
        assert_eq!(acquire(&paused, Some(&released), "b", at(108)), Err(Refusal::Paused(State::Paused)));
    }

    #[test]
    fn tokens_grow_when_the_clock_does_not() {
        let mut lease = acquire(&gate(), None, "a", at(100)).unwrap();
        for _ in 0..5 {
            let released = release(Some(&lease), &claim(&lease), at(100)).unwrap();
            let next = acquire(&gate(), Some(&released), "a", at(100)).unwrap();
            assert!(next.fencing > lease.fencing);
            lease = next;
        }
        // A backup that knows only an earlier token.
        assert!(acquire(&gate(), None, "a", at(101)).unwrap().fencing > lease.fencing);
    }
}
