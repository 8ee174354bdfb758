//! One throw-away PostgreSQL cluster for the whole test binary, started by the first test that asks for it.
//!
//! A watchdog process holds the read end of a pipe whose write end only this process has. However the test process
//! ends, by return, panic, abort or SIGKILL, the pipe closes, and the watchdog stops the server and removes its files.
//! `CHANGEOVER_TEST_POSTGRES_URL` names a server to use instead; its user must be allowed to create databases.

use std::env;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// A server that tests make their databases on.
pub struct Cluster {
    /// `postgres://user@host:port/` and whatever follows a database's name.
    before_name: String,
    after_name: String,
    /// The database to connect to for creating others.
    maintenance: String,
    _watchdog: Option<Child>,
}

impl Cluster {
    /// The cluster of this process. Panics with the remedy if there can be none: a test never passes by being skipped.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
        let cluster = SHARED.get_or_init(|| match env::var("CHANGEOVER_TEST_POSTGRES_URL") {
            Ok(url) if !url.is_empty() => Self::existing(&url),
            _ => Self::start(),
        });
        match cluster {
            Ok(cluster) => cluster,
            Err(reason) => panic!(
                "no PostgreSQL for the tests: {reason}\n  remedy: install PostgreSQL 13 or later with its server programs \
                 (Debian: apt-get install postgresql), or set CHANGEOVER_TEST_POSTGRES_URL=postgres://user@host/postgres to \
                 use a server that runs already"
            ),
        }
    }

    /// The URL of a database on this cluster.
    pub fn url(&self, name: &str) -> String {
        format!("{}{name}{}", self.before_name, self.after_name)
    }

    pub fn maintenance_url(&self) -> String {
        self.url(&self.maintenance)
    }

    fn existing(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or("CHANGEOVER_TEST_POSTGRES_URL is not a URL")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, "postgres"));
        let (name, query) =
            path.split_once('?').map_or((path, String::new()), |(name, query)| (name, format!("?{query}")));
        Ok(Self {
            before_name: format!("{scheme}://{host}/"),
            after_name: query,
            maintenance: if name.is_empty() { String::from("postgres") } else { name.to_owned() },
            _watchdog: None,
        })
    }

    fn start() -> Result<Self, String> {
        let programs = find_programs()?;
        let (identity, watchdog) = initialized(&programs)?;
        let port = identity.start_server(&programs, &watchdog.home)?;
        Ok(Self {
            before_name: format!("postgres://postgres@127.0.0.1:{port}/"),
            after_name: String::new(),
            maintenance: String::from("postgres"),
            _watchdog: Some(watchdog.process),
        })
    }
}

/// A cluster of a test's own, to be crashed and recovered. Commits are durable on it: what was acknowledged is there after a crash.
pub struct CrashingCluster {
    programs: PathBuf,
    identity: Identity,
    watchdog: Watchdog,
    port: u16,
}

const DURABLE: &str = "-c synchronous_commit=on -c restart_after_crash=on";

impl CrashingCluster {
    pub fn start() -> Self {
        let programs = find_programs().expect("PostgreSQL's server programs");
        let (identity, watchdog) = initialized(&programs).expect("a cluster");
        let port = identity.start_on_free_port(&programs, &watchdog.home, DURABLE).expect("the cluster starts");
        Self { programs, identity, watchdog, port }
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Ends every process of the server at once, as a crash does, and starts it again: it recovers from its log.
    pub fn crash_and_recover(&self) {
        self.crash();
        self.recover();
    }

    /// Ends every process of the server at once.
    pub fn crash(&self) {
        let mut stop = Command::new(self.programs.join("pg_ctl"));
        stop.args(["stop", "-s", "-m", "immediate", "-D"]).arg(self.watchdog.home.join("data"));
        self.identity.run(&mut stop).expect("an immediate shutdown");
    }

    /// A hot standby of this cluster as it is now, following it.
    pub fn standby(&self) -> Self {
        let home =
            tempfile::Builder::new().prefix("changeover-test-standby-").tempdir().expect("a temporary directory");
        let identity = Identity::for_server(home.path()).expect("a user for the server");
        let watchdog = identity.watchdog(&self.programs, home).expect("a watchdog");
        let mut copy = Command::new(self.programs.join("pg_basebackup"));
        copy.args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync", "--dbname"]);
        copy.arg(self.url()).arg("--pgdata").arg(watchdog.home.join("data"));
        identity.run(&mut copy).expect("a copy of the cluster");
        let port = identity.start_on_free_port(&self.programs, &watchdog.home, DURABLE).expect("the standby starts");
        Self { programs: self.programs.clone(), identity, watchdog, port }
    }

    /// Starts the server after a crash: it recovers from its log.
    pub fn recover(&self) {
        self.identity.start_on(&self.programs, &self.watchdog.home, self.port, DURABLE).expect("the cluster recovers");
    }
}

impl Drop for CrashingCluster {
    fn drop(&mut self) {
        drop(self.watchdog.process.stdin.take());
        drop(self.watchdog.process.wait());
    }
}

/// An empty cluster, and who stops its server and removes it.
fn initialized(programs: &Path) -> Result<(Identity, Watchdog), String> {
    let home = tempfile::Builder::new()
        .prefix("changeover-test-postgres-")
        .tempdir()
        .map_err(|error| format!("no temporary directory: {error}"))?;
    let identity = Identity::for_server(home.path())?;
    let watchdog = identity.watchdog(programs, home)?;
    identity.run(
        Command::new(programs.join("initdb"))
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(watchdog.home.join("data")),
    )?;
    Ok((identity, watchdog))
}

/// The newest PostgreSQL below Debian's place for them, or the one on PATH.
pub fn find_programs() -> Result<PathBuf, String> {
    let mut versions: Vec<(u32, PathBuf)> = Vec::new();
    for entry in fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        let version = entry.file_name().to_string_lossy().parse().unwrap_or(0);
        versions.push((version, entry.path().join("bin")));
    }
    versions.sort();
    let on_path = env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    let mut candidates = versions.into_iter().rev().map(|(_, programs)| programs).chain(on_path);
    candidates
        .find(|programs| programs.join("initdb").exists() && programs.join("pg_ctl").exists())
        .ok_or_else(|| String::from("neither /usr/lib/postgresql/*/bin nor PATH has initdb and pg_ctl"))
}

/// A program of PostgreSQL's: beside `initdb` where there is one, otherwise whatever PATH has under its name.
pub fn program(name: &str) -> PathBuf {
    find_programs().map(|programs| programs.join(name)).ok().filter(|path| path.exists()).unwrap_or_else(|| name.into())
}

/// As whom the server runs: PostgreSQL refuses root, so root lends it the user `postgres`.
struct Identity {
    user: Option<(u32, u32)>,
}

struct Watchdog {
    process: Child,
    home: PathBuf,
}

impl Identity {
    fn for_server(home: &Path) -> Result<Self, String> {
        let is_root = fs::metadata(home).map_err(|error| error.to_string())?.uid() == 0;
        if !is_root {
            return Ok(Self { user: None });
        }
        let users = fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
        let user = users.lines().find_map(|line| {
            let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
            Some((fields.next()?.parse::<u32>().ok()?, fields.next()?.parse::<u32>().ok()?))
        });
        let Some((uid, gid)) = user else {
            return Err(String::from("the tests run as root, and there is no user `postgres` to run the server as"));
        };
        chown(home, Some(uid), Some(gid)).map_err(|error| format!("{}: {error}", home.display()))?;
        Ok(Self { user: Some((uid, gid)) })
    }

    fn lend_to(&self, command: &mut Command) {
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command.current_dir("/").env_remove("PGDATA").env_remove("PGPORT").env_remove("PGHOST");
    }

    /// Starts what stops the server and removes `home` when this process is gone. It ignores the terminal's signals.
    fn watchdog(&self, programs: &Path, home: TempDir) -> Result<Watchdog, String> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(
            r#"trap '' INT TERM HUP QUIT
               cat >/dev/null
               "$1/pg_ctl" stop -s -m immediate -D "$2/data"
               rm -rf "$2""#,
        );
        command.arg("watchdog").arg(programs).arg(home.path());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        self.lend_to(&mut command);
        let process = command.spawn().map_err(|error| format!("sh: {error}"))?;
        Ok(Watchdog { process, home: home.keep() })
    }

    /// Starts the server on a free port of 127.0.0.1; another process may take the port first, so it is tried again.
    fn start_server(&self, programs: &Path, home: &Path) -> Result<u16, String> {
        self.start_on_free_port(programs, home, "-c synchronous_commit=off -c wal_level=minimal -c max_wal_senders=0")
    }

    fn start_on_free_port(&self, programs: &Path, home: &Path, settings: &str) -> Result<u16, String> {
        let mut reason = String::new();
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
            let port = port.map_err(|error| format!("no free port: {error}"))?.port();
            match self.start_on(programs, home, port, settings) {
                Ok(()) => return Ok(port),
                Err(error) => {
                    let log = fs::read_to_string(home.join("log")).unwrap_or_default();
                    reason = format!("{error}\n{log}");
                }
            }
        }
        Err(reason)
    }

    /// Without fsync: what a process has written survives its death, if not the machine's.
    fn start_on(&self, programs: &Path, home: &Path, port: u16, settings: &str) -> Result<(), String> {
        let settings = format!(
            "-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories='{}' -c max_connections=300 \
             -c max_locks_per_transaction=256 -c shared_buffers=128MB -c fsync=off -c full_page_writes=off \
             -c deadlock_timeout=100ms {settings}",
            home.display()
        );
        let mut command = Command::new(programs.join("pg_ctl"));
        command.args(["start", "-w", "-s", "-t", "60", "-D"]).arg(home.join("data"));
        command.arg("-l").arg(home.join("log")).arg("-o").arg(settings);
        self.run(&mut command)
    }

    fn run(&self, command: &mut Command) -> Result<(), String> {
        self.lend_to(command);
        let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!(
            "{command:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}
