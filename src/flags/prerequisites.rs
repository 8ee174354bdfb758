//! How flags depend on one another. A circle, or more flags than one answer may ask, is refused when a flag is written
//! (`check`); were one there all the same, what leads into it counts as unmet, so that no evaluation runs in a circle.

use super::flag::Flag;

/// How many flags one answer may ask: the flag itself, its prerequisites, theirs, each as often as it is asked.
pub(super) const FLAGS_ASKED_MAX: usize = 256;

/// Why a prerequisite can't be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    NoSuchFlag,
    /// The other flag asks this one in turn, or one that does.
    Circle,
    /// Together with the flag's other prerequisites it asks more flags than one answer may.
    TooMany,
}

/// For each flag and each of its prerequisites where the other flag is, or why it can't be asked.
pub(super) fn resolve(flags: &[&Flag], find: impl Fn(&str) -> Option<usize>) -> Vec<Vec<Result<usize, Broken>>> {
    let find_all = |flag: &&Flag| -> Vec<Result<usize, Broken>> {
        let found = flag.prerequisites().iter().map(|other| find(other.flag.as_str()).ok_or(Broken::NoSuchFlag));
        found.collect()
    };
    let mut resolved: Vec<Vec<Result<usize, Broken>>> = flags.iter().map(find_all).collect();
    if resolved.iter().all(Vec::is_empty) {
        return resolved;
    }
    let asked = count_asked(&resolved);
    for (others, own) in resolved.iter_mut().zip(&asked) {
        for other in others.iter_mut() {
            let Ok(at) = *other else { continue };
            *other = match own {
                Some(own) if *own <= FLAGS_ASKED_MAX => Ok(at),
                Some(_) => Err(Broken::TooMany),
                // Itself in a circle or above one; what does not lead there can be asked.
                None if asked.get(at).copied().flatten().is_some() => Ok(at),
                None => Err(Broken::Circle),
            };
        }
    }
    resolved
}

/// How many flags each flag's answer asks, itself among them; nothing for a flag from which a circle is reached.
fn count_asked(resolved: &[Vec<Result<usize, Broken>>]) -> Vec<Option<usize>> {
    let known = |others: &[Result<usize, Broken>]| others.iter().flatten().count();
    let mut waits_for: Vec<usize> = resolved.iter().map(|others| known(others)).collect();
    let mut asked_by: Vec<Vec<usize>> = vec![Vec::new(); resolved.len()];
    for (flag, others) in resolved.iter().enumerate() {
        for other in others.iter().flatten() {
            if let Some(askers) = asked_by.get_mut(*other) {
                askers.push(flag);
            }
        }
    }
    let mut asked: Vec<Option<usize>> = vec![None; resolved.len()];
    let mut ready: Vec<usize> = (0..resolved.len()).filter(|flag| waits_for.get(*flag) == Some(&0)).collect();
    while let Some(flag) = ready.pop() {
        let others = resolved.get(flag).into_iter().flatten().flatten();
        let sum = others.filter_map(|other| asked.get(*other).copied().flatten()).fold(1, usize::saturating_add);
        if let Some(own) = asked.get_mut(flag) {
            *own = Some(sum);
        }
        for asker in asked_by.get(flag).into_iter().flatten() {
            if let Some(count) = waits_for.get_mut(*asker) {
                *count -= 1;
                if *count == 0 {
                    ready.push(*asker);
                }
            }
        }
    }
    asked
}
