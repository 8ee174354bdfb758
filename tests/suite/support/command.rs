//! The real binary, run as a person or a script would: arguments and variables in; exit code, stdout and stderr out.

use std::ffi::OsStr;
use std::fmt;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use super::database::TestDatabase;

/// `changeover` with no arguments yet, in an empty environment but for PATH and HOME.
pub fn changeover() -> Changeover {
    let mut command = Command::new(env!("CARGO_BIN_EXE_changeover"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CHANGEOVER_") {
            command.env_remove(name);
        }
    }
    // Servers on PostgreSQL keep their snapshot files there.
    let state = format!("{}/state-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    command.env("XDG_STATE_HOME", state).env_remove("STATE_DIRECTORY");
    command.env_remove("RUST_LOG").env("NO_COLOR", "1").env("COLUMNS", "120");
    Changeover { command, input: String::new(), limit: Duration::from_secs(120) }
}

/// A run of the binary that is being prepared.
pub struct Changeover {
    command: Command,
    input: String,
    limit: Duration,
}

impl Changeover {
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// The service's own database (and the application's, unless [`Changeover::app`] names another).
    pub fn service(self, database: &TestDatabase) -> Self {
        self.env("CHANGEOVER_DATABASE_URL", database.url())
    }

    /// The application's database.
    pub fn app(self, database: &TestDatabase) -> Self {
        self.env("CHANGEOVER_APP_DATABASE_URL", database.url())
    }

    pub fn directory(mut self, path: impl AsRef<Path>) -> Self {
        self.command.current_dir(path);
        self
    }

    /// What the command reads from stdin; nothing by default.
    pub fn input(mut self, text: impl Into<String>) -> Self {
        self.input = text.into();
        self
    }

    /// How long it may run before the test fails; two minutes by default.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The command as it stands, for a caller who needs its pipes.
    pub fn into_command(self) -> Command {
        self.command
    }

    /// Starts it and leaves it to the caller, both outputs closed: for what is killed halfway.
    pub fn spawn(mut self) -> Child {
        self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.command.spawn().expect("the binary starts")
    }

    /// Runs it to its end. A signal counts as exit code -1; running past the limit panics.
    pub fn run(mut self) -> Finished {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("the binary starts");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let input = self.input;
        thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let stdout = read_to_end(child.stdout.take().expect("stdout is piped"));
        let stderr = read_to_end(child.stderr.take().expect("stderr is piped"));
        let outputs = (stdout.recv_timeout(self.limit), stderr.recv_timeout(self.limit));
        let (Ok(stdout), Ok(stderr)) = outputs else {
            drop(child.kill());
            panic!("still running after {:?}: {:?}", self.limit, self.command);
        };
        let status = child.wait().expect("the binary ends");
        Finished { code: status.code().unwrap_or(-1), stdout, stderr }
    }
}

fn read_to_end(mut from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(from.read_to_end(&mut bytes));
        drop(sender.send(String::from_utf8_lossy(&bytes).into_owned()));
    });
    receiver
}

/// What a run of the binary left. `Display` is the whole story, made for snapshots and for messages of failed asserts.
#[derive(Debug, Clone)]
pub struct Finished {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Panics with the whole story unless the exit code is `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code {} instead of {code}\n{self}", self.code);
        self
    }

    /// Stdout as the one JSON document that `--json` promises.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not one JSON document: {error}\n{self}"))
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code: {}\n----- stdout -----\n{}\n----- stderr -----\n{}", self.code, self.stdout, self.stderr)
    }
}
