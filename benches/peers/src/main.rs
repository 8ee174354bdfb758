//! Flags evaluated in process: our library beside `unleash-yggdrasil` and `launchdarkly-server-sdk-evaluation`, by turns in one
//! run, in nanoseconds on the processor. Prints the table of `docs/reference/performance.md`.

#[allow(dead_code, unused_imports, reason = "the library's own source, of which a benchmark uses a part")]
#[path = "../../../src/flags/mod.rs"]
mod flags;
#[allow(dead_code, unused_imports, reason = "the library's own source, of which a benchmark uses a part")]
#[path = "../../../src/primitives/mod.rs"]
mod primitives;

mod launchdarkly;
mod memory;
mod ours;
mod yggdrasil;

use std::hint::black_box;
use std::time::Duration;

/// Flags beside those that are asked.
pub const FLAGS: usize = 5_000;
/// Subjects asked for in turn.
pub const SUBJECTS: usize = 65_536;
/// The size of the large cohort; LaunchDarkly's is searched from one end, so it gets a tenth.
pub const MILLION: usize = 1_000_000;

const ROUNDS: usize = 9;
const SLICE: Duration = Duration::from_millis(120);

/// One of the four questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    Boolean,
    Rollout,
    TenClauses,
    Cohort,
}

/// An engine that is set up: answers whether the flag is on for the subject with this number.
pub trait Engine {
    fn name(&self) -> &'static str;
    fn ask(&self, question: Question, subject: usize) -> bool;
}

/// An id of 20 characters without order or structure: a look-up can't be guessed.
#[must_use]
pub fn id(number: usize) -> String {
    let mut state = u64::try_from(number).unwrap_or(0).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let mut text = String::with_capacity(20);
    for _ in 0..20 {
        state ^= state >> 33;
        state = state.wrapping_mul(0xff51_afd7_ed55_8ccd).wrapping_add(0x1234_5678_9abc_def1);
        let digit = u32::try_from(state >> 32).unwrap_or(0) % 36;
        text.push(char::from_digit(digit, 36).unwrap_or('0'));
    }
    text
}

/// Every other subject is in the cohort; those spread over all of it.
#[must_use]
pub fn subject(number: usize, members: usize) -> String {
    id(if number % 2 == 0 { number * 7_919 % members } else { members + number })
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [what, engine] = arguments.as_slice()
        && what == "hold"
    {
        return memory::hold(engine);
    }
    println!("{} load average: {}", chip(), std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    println!();
    let engines: Vec<Box<dyn Engine>> = vec![
        Box::new(ours::Ours::new(MILLION)),
        Box::new(yggdrasil::Yggdrasil::new(MILLION)),
        Box::new(launchdarkly::LaunchDarkly::new(MILLION / 10)),
    ];
    check(&engines);
    println!("| evaluation | ours ns | {} ns | {} ns | ours ÷ better |", engines[1].name(), engines[2].name());
    println!("|---|---:|---:|---:|---:|");
    for (question, told) in [
        (Question::Boolean, "boolean flag, by key, of 5,000"),
        (Question::Rollout, "rollout of 50 %"),
        (Question::TenClauses, "ten clauses, all of which hold"),
        (Question::Cohort, "cohort of a million ids of 20 characters"),
    ] {
        let medians = by_turns(&engines, question);
        let better = medians[1].min(medians[2]);
        println!(
            "| {told} | {:.0} | {:.0} | {:.0} | **{:.2}** |",
            medians[0],
            medians[1],
            medians[2],
            medians[0] / better
        );
    }
    println!();
    memory::table();
}

/// The engines agree where their rules are the same.
fn check(engines: &[Box<dyn Engine>]) {
    for engine in engines {
        assert!(engine.ask(Question::Boolean, 0), "{}", engine.name());
        assert!(engine.ask(Question::TenClauses, 0), "{}", engine.name());
        assert!(engine.ask(Question::Cohort, 0) && !engine.ask(Question::Cohort, 1), "{}", engine.name());
        let on = (0..SUBJECTS).filter(|subject| engine.ask(Question::Rollout, *subject)).count();
        assert!((30_000..36_000).contains(&on), "{}: {on}", engine.name());
    }
}

/// Nanoseconds on the processor for each question: the median of the rounds, for each engine.
fn by_turns(engines: &[Box<dyn Engine>], question: Question) -> Vec<f64> {
    let mut rounds: Vec<Vec<f64>> = vec![Vec::new(); engines.len()];
    for _ in 0..ROUNDS {
        for (engine, measured) in engines.iter().zip(&mut rounds) {
            measured.push(slice(engine.as_ref(), question));
        }
    }
    let median = |mut measured: Vec<f64>| {
        measured.sort_by(f64::total_cmp);
        measured[measured.len() / 2]
    };
    rounds.into_iter().map(median).collect()
}

fn slice(engine: &dyn Engine, question: Question) -> f64 {
    let (mut asked, mut subject) = (0_u32, 0);
    // A slow engine is asked a few times, a fast one in batches between looks at the clock.
    let mut batch = 1;
    let began = on_processor();
    loop {
        for _ in 0..batch {
            black_box(engine.ask(question, black_box(subject)));
            subject = (subject + 1) % SUBJECTS;
        }
        asked += batch;
        let took = on_processor() - began;
        if took >= SLICE {
            return took.as_secs_f64() * 1e9 / f64::from(asked);
        }
        batch = if took < SLICE / 100 { batch * 2 } else { batch };
    }
}

/// How long this thread has been on a processor.
fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(0))
}

fn chip() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split(": ").nth(1)).unwrap_or("an unknown processor").to_owned()
}
