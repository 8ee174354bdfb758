//! `changeover serve`

mod edge;
mod start;
mod told;

use std::io::{ErrorKind, IsTerminal, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use super::Settings;
use super::restore::RestoreArguments;
use super::serve_http::HttpArguments;
use crate::database::{Database, DatabaseUrl};
use crate::http::{AppState, Metrics};
use crate::jobs::sentinel::{self, Budget};
use crate::jobs::series;
use crate::jobs::{
    LeasedLoop, Leases, PendingWorker, Refresher, Runner, Saver, Surroundings, UsageNoter, Watcher, kinds,
};
use crate::store::Store;
use crate::store::tokens::IssuedToken;

/// Connections to each database, and how long a request waits for one.
const CONNECTIONS_MAX: u32 = 12;
const JOB_CONNECTIONS_MAX: u32 = 24;
const CONNECTION_WAIT: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Where to listen; with port 0 the system chooses one, which is printed
    #[arg(long, alias = "listen", env = "CHANGEOVER_BIND", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub bind: SocketAddr,

    /// How log lines on stderr are written
    #[arg(long, env = "CHANGEOVER_LOG_FORMAT", default_value = "text", value_enum)]
    pub log_format: LogFormat,

    /// Which log lines: error, warn, info, debug, trace, or a filter such as changeover::store=debug
    #[arg(long, env = "CHANGEOVER_LOG", default_value = "info,actix_server=warn", value_name = "FILTER")]
    pub log: String,

    /// After how many seconds another server takes over the background work of one that has died
    #[arg(long, env = "CHANGEOVER_LEASE_SECONDS", default_value_t = Leases::TTL.as_secs(), value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub lease_seconds: u64,

    /// For how many hours the answer to a write with an Idempotency-Key is kept
    #[arg(long, env = "CHANGEOVER_IDEMPOTENCY_HOURS", default_value_t = 24, value_name = "HOURS",
          value_parser = clap::value_parser!(u64).range(1..=8760))]
    pub idempotency_hours: u64,

    /// Driving keys that the sentinel compares in a second, at most
    #[arg(long, env = "CHANGEOVER_SENTINEL_RATE", default_value_t = 5_000, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub sentinel_rate: u32,

    /// Let the sentinel put right what it finds to differ; each repair stands in the change's history
    #[arg(long, env = "CHANGEOVER_SENTINEL_REPAIR")]
    pub sentinel_repair: bool,

    #[command(flatten)]
    pub http: HttpArguments,

    #[command(flatten)]
    pub edge: edge::EdgeArguments,

    #[command(flatten)]
    pub snapshot: start::SnapshotArguments,

    #[command(flatten)]
    pub restore: RestoreArguments,

    /// Compare nothing by itself
    #[arg(long, env = "CHANGEOVER_NO_SENTINEL", conflicts_with = "sentinel_repair")]
    pub no_sentinel: bool,
}

/// The application's database for background work: a pool of its own, so that jobs never take a request's connection.
fn jobs_database(app: &Database) -> anyhow::Result<Database> {
    Ok(Database::new(app.url().clone(), JOB_CONNECTIONS_MAX, CONNECTION_WAIT)?)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

pub fn run(settings: &Settings, arguments: Arguments) -> anyhow::Result<u8> {
    log_to_stderr(&arguments)?;
    let edge_desk = arguments.edge.desk()?;
    let listener = listen(arguments.bind)?;
    let address = listener.local_addr().context("the address that is listened on cannot be read")?;
    let (database, app) = open_databases(settings)?;
    let file = start::snapshot_file(&arguments.snapshot, &settings.database_url);
    let memory = start::memory(Store::unprepared(database), file.as_ref())?;
    let first = memory.take_first_token();
    let refresher = Refresher::start(Arc::clone(&memory), say_first_token).context("no thread could be started")?;
    let saver = file.map(|file| Saver::start(Arc::clone(&memory), file)).transpose();
    let saver = saver.context("no thread could be started")?;
    let leases = Leases::start(memory.store().clone(), Duration::from_secs(arguments.lease_seconds))
        .context("no thread could be started")?;
    let replica = settings.report_database_url.clone();
    let replica = replica.map(|url| Database::new(url, JOB_CONNECTIONS_MAX, CONNECTION_WAIT)).transpose()?;
    let reports = replica.map_or_else(|| jobs_database(&app), Ok)?;
    let surroundings = Surroundings { store: memory.store().clone(), app: jobs_database(&app)?, reports };
    let pending =
        PendingWorker::start(leases.clone(), surroundings.app.clone()).context("no thread could be started")?;
    let watching_ranges = start_sentinel(&arguments, &leases, &surroundings.app)?;
    let overview = Arc::default();
    let charting = series::start(leases.clone(), Arc::clone(&overview)).context("no thread could be started")?;
    let runner = Runner::start(leases, surroundings, kinds()).context("no thread could be started")?;
    let watcher = Watcher::start(memory.store().clone(), app.clone(), Arc::clone(&overview))
        .context("no thread could be started")?;
    let state = AppState::new(memory, app, Metrics::new(Arc::clone(&overview))?)
        .watching(overview)
        .keeping_answers(Duration::from_secs(arguments.idempotency_hours * 60 * 60))
        .limited(arguments.http.limits())
        .streaming(arguments.http.streams())
        .restoring(arguments.restore.settings())
        .telling(told::settings())
        .at_the_edge(edge_desk);
    let counted = state.clone();
    let noter = UsageNoter::start(state.store().clone(), move || counted.metrics().evaluations_by_flag())
        .context("no thread could be started")?;
    if let Some(first) = first {
        say_first_token(&first);
    }
    say(&format!("Changeover serves http://{address} (console: http://{address}/console, API: http://{address}/docs)"));
    crate::http::serve(listener, state, crate::console::configure).context("the server ended")?;
    drop(runner);
    drop(watcher);
    drop(charting);
    drop(watching_ranges);
    drop(pending);
    drop(refresher);
    drop(saver);
    drop(noter);
    tracing::info!("stopped");
    Ok(0)
}

fn start_sentinel(arguments: &Arguments, leases: &Leases, app: &Database) -> anyhow::Result<Option<LeasedLoop>> {
    if arguments.no_sentinel {
        return Ok(None);
    }
    let budget = Budget { keys_per_second: arguments.sentinel_rate, repair: arguments.sentinel_repair };
    let started = sentinel::start(leases.clone(), app.clone(), budget).context("no thread could be started")?;
    Ok(Some(started))
}

fn listen(bind: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(bind).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow::anyhow!(
            "{bind} is taken by another program: stop it, or choose another address with --bind 127.0.0.1:0 (any free port)"
        ),
        ErrorKind::PermissionDenied => {
            anyhow::anyhow!("{bind} may not be listened on: ports below 1024 need a right; choose another with --bind")
        }
        _ => anyhow::Error::new(error).context(format!("{bind} cannot be listened on")),
    })
}

/// The service's database and the application's; one pool if they are the same.
fn open_databases(settings: &Settings) -> anyhow::Result<(Database, Database)> {
    let database = Database::new(settings.database_url.clone(), CONNECTIONS_MAX, CONNECTION_WAIT)?;
    let Some(url) = &settings.app_database_url else { return Ok((database.clone(), database)) };
    if let DatabaseUrl::Sqlite(path) = url
        && !path.exists()
    {
        bail!("there is no file {}, which --app-database-url names", path.display());
    }
    Ok((database, Database::new(url.clone(), CONNECTIONS_MAX, CONNECTION_WAIT)?))
}

fn log_to_stderr(arguments: &Arguments) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&arguments.log)
        .with_context(|| format!("`{}` is not a log filter: write info, or changeover=debug", arguments.log))?;
    let colour = std::io::stderr().is_terminal();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    let outcome = match arguments.log_format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
    // A command that serves at its end may log already.
    drop(outcome);
    Ok(())
}

fn say_first_token(first: &IssuedToken) {
    say(&format!("The first admin token, shown only this once: {}", first.text));
}

/// On stdout, which nobody needs to read.
fn say(text: &str) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}
