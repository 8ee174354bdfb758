//! `changeover gate hold` as cron runs it: real processes, killed and stopped. Each command writes its fencing token into one file again
//! and again; two that ran together would show as a smaller token after a greater one.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use changeover::primitives::Dialect;
use tempfile::TempDir;

use crate::support::{TestDatabase, changeover, each_database};

const DEADLINE: Duration = Duration::from_secs(90);

struct World {
    database: TestDatabase,
    directory: TempDir,
}

/// A `hold` that is killed with what it started when a test fails.
struct Holding(Child);

impl Drop for Holding {
    fn drop(&mut self) {
        signal("CONT", self.0.id());
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn signal(name: &str, process: u32) {
    drop(Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).stderr(Stdio::null()).status());
}

impl World {
    fn new(database: TestDatabase, settings: &[&str]) -> Self {
        let world = Self { database, directory: tempfile::tempdir().unwrap() };
        world.gate(&[&["set", "mail"], settings].concat());
        world
    }

    fn gate(&self, arguments: &[&str]) -> crate::support::Finished {
        changeover().service(&self.database).arg("gate").args(arguments).run().expect_code(0)
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// The tokens in the file, in the order in which they were written.
    fn tokens(&self) -> Vec<i64> {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| line.parse().unwrap()).collect()
    }

    fn hold(&self, options: &[&str], script: &str) -> Holding {
        let mut command =
            changeover().service(&self.database).args(["gate", "hold"]).args(options).arg("mail").into_command();
        command.args(["--", "sh", "-c", script]).env("LOG", self.log());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Holding(command.spawn().unwrap())
    }

    /// A command that runs until it is stopped.
    fn endless(&self) -> Holding {
        self.hold(&[], "while :; do echo $CHANGEOVER_FENCING_TOKEN >> \"$LOG\"; sleep 0.02; done")
    }

    fn wait_for(&self, what: &str, mut is_so: impl FnMut(&[i64]) -> bool) -> i64 {
        let began = Instant::now();
        loop {
            let tokens = self.tokens();
            if is_so(&tokens) {
                return tokens.last().copied().unwrap_or_default();
            }
            assert!(began.elapsed() < DEADLINE, "never: {what}: {:?}", tokens.last());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn assert_one_after_the_other(&self) {
        let tokens = self.tokens();
        let back = tokens.windows(2).find(|pair| pair[0] > pair[1]);
        assert_eq!(back, None, "two ran together");
    }

    /// Waits for the first token, or for one that is greater.
    fn next(&self, before: i64) -> i64 {
        self.wait_for("the next holder", |tokens| tokens.last().is_some_and(|last| *last > before))
    }

    /// Which of them has the lease: the one whose process is in the holder's name.
    fn holder<'a>(&self, all: &'a mut [Holding]) -> &'a mut Holding {
        let listed = changeover().service(&self.database).args(["--json", "gate", "list"]).run().json();
        let holder = listed["items"][0]["details"]["lease"]["holder"].as_str().unwrap().to_owned();
        all.iter_mut().find(|one| holder.contains(&format!("/{}/", one.0.id()))).unwrap()
    }
}

fn ended(holding: &mut Holding) -> Option<i32> {
    let began = Instant::now();
    loop {
        if let Some(status) = holding.0.try_wait().unwrap() {
            return status.code().or_else(|| status.signal().map(|signal| -signal));
        }
        assert!(began.elapsed() < DEADLINE, "it never ended");
        std::thread::sleep(Duration::from_millis(10));
    }
}

const SINGLE: &[&str] = &["--single-instance", "true", "--lease", "2"];

#[test]
fn killed_and_stopped_holders_never_run_beside_the_next_one() {
    each_database(|database| {
        let world = World::new(database, SINGLE);
        let mut holding: Vec<Holding> = (0..3).map(|_| world.endless()).collect();
        let first = world.next(0);
        let killed = world.holder(&mut holding);
        signal("KILL", killed.0.id());
        assert_eq!(ended(killed), Some(-9));
        let second = world.next(first);
        assert!(second > first);

        let at = holding.iter().position(|one| {
            one.0.id() == {
                let listed = changeover().service(&world.database).args(["--json", "gate", "list"]).run().json();
                let holder = listed["items"][0]["details"]["lease"]["holder"].as_str().unwrap().to_owned();
                holder.split('/').nth(1).unwrap().parse::<u32>().unwrap()
            }
        });
        let mut stopped = holding.remove(at.unwrap());
        signal("STOP", stopped.0.id());
        let third = world.next(second);
        // It comes back when another runs, finds its command ended, and says so.
        signal("CONT", stopped.0.id());
        assert_eq!(ended(&mut stopped), Some(76));
        let lines = world.tokens().len();
        world.wait_for("the third goes on", |tokens| tokens.len() > lines + 5);
        assert_eq!(world.tokens().last(), Some(&third));
        drop(holding);
        world.assert_one_after_the_other();
    });
}

#[test]
fn a_killed_guard_takes_its_command_along() {
    let world = World::new(TestDatabase::new(Dialect::Sqlite), SINGLE);
    let mut first = world.endless();
    let token = world.next(0);
    let guard = children_of(first.0.id()).pop().unwrap();
    signal("KILL", guard);
    assert_eq!(ended(&mut first), Some(76));
    let _second = world.endless();
    world.next(token);
    world.assert_one_after_the_other();
}

fn children_of(process: u32) -> Vec<u32> {
    let text = Command::new("ps").args(["-o", "pid=", "--ppid", &process.to_string()]).output().unwrap().stdout;
    String::from_utf8(text).unwrap().split_whitespace().map(|number| number.parse().unwrap()).collect()
}

#[test]
fn a_pause_stops_the_command_first_kindly_then_not() {
    each_database(|database| {
        let world = World::new(database, &["--single-instance", "true", "--lease", "4"]);
        let deaf = "trap '' TERM; while :; do echo $CHANGEOVER_FENCING_TOKEN >> \"$LOG\"; sleep 0.02; done";
        let mut first = world.hold(&["--kill-after", "1"], deaf);
        let token = world.next(0);
        world.gate(&["pause", "mail", "--reason", "an outage"]);
        assert_eq!(ended(&mut first), Some(76));
        let lines = world.tokens().len();
        let refused = world.hold(&["--no-wait"], "true").0.wait().unwrap();
        assert_eq!(refused.code(), Some(75));
        let waiting = world.endless();
        world.gate(&["resume", "mail", "--reason", "over"]);
        assert!(world.next(token) > token);
        assert!(world.tokens()[..lines].iter().all(|found| *found == token));
        drop(waiting);
        world.assert_one_after_the_other();
    });
}

#[test]
fn it_exits_as_the_command_does_and_passes_signals_on() {
    let world = World::new(TestDatabase::new(Dialect::Sqlite), SINGLE);
    for (script, code) in [("true", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
        assert_eq!(ended(&mut world.hold(&["-n"], script)), Some(code), "{script}");
    }
    // At once after each other: a lease is given back.
    let environment =
        "test \"$CHANGEOVER_WORKER\" = mail && test -n \"$CHANGEOVER_HOLDER\" && test -n \"$CHANGEOVER_FENCING_TOKEN\"";
    assert_eq!(ended(&mut world.hold(&["-n"], environment)), Some(0));
    let mut holding = world.endless();
    let token = world.next(0);
    assert_eq!(ended(&mut world.hold(&["--wait", "0"], "true")), Some(75), "another has it");
    signal("TERM", holding.0.id());
    assert_eq!(ended(&mut holding), Some(143));
    let left = "(while :; do echo $CHANGEOVER_FENCING_TOKEN >> \"$LOG\"; sleep 0.02; done) & sleep 0.2";
    assert_eq!(ended(&mut world.hold(&["-n"], left)), Some(0));
    let last = world.tokens().last().copied().unwrap();
    assert!(last > token, "what was left running in the background wrote, and ended with its command");
    let lines = world.tokens().len();
    assert_eq!(ended(&mut world.hold(&["-n"], "sleep 0.2")), Some(0));
    assert_eq!(world.tokens().len(), lines);
    assert!(!Path::new(&world.directory.path().join("none")).exists());
}

#[test]
fn without_single_instance_the_gate_alone_decides() {
    let world = World::new(TestDatabase::new(Dialect::Sqlite), &[]);
    let script = "while :; do echo 1 >> \"$LOG\"; sleep 0.02; done";
    let (mut one, mut other) = (world.hold(&["--kill-after", "1"], script), world.hold(&["--kill-after", "1"], script));
    world.next(0);
    world.gate(&["pause-all", "--reason", "an outage"]);
    assert_eq!((ended(&mut one), ended(&mut other)), (Some(76), Some(76)));
    let mut waiting = world.hold(&[], "echo 2 >> \"$LOG\"");
    world.gate(&["resume-all", "--reason", "over"]);
    assert_eq!(ended(&mut waiting), Some(0));
    assert_eq!(world.tokens().last(), Some(&2));
}
