//! Plain old code: what the application did before anybody thought of a new model, and goes on doing. It runs as a process
//! of its own, opens its own connection and issues ordinary SQL over the old tables; of Changeover it knows nothing, and of
//! this crate it uses only the random numbers. It writes until its standard input ends.

mod cloud_costs;
mod connection;
mod video_hosting;

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel::QueryResult;

use super::example::Example;
use super::random::Random;
use connection::{Connection, is_retryable};

/// Rest after each transaction: an application, not a benchmark.
const REST: Duration = Duration::from_millis(2);
/// How often a transaction is tried that lost against another one.
const ATTEMPTS_MAX: u32 = 50;

/// What the process is told, besides the database's URL.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[arg(long, value_enum)]
    pub example: Example,
    /// The period that new charges belong to
    #[arg(long)]
    pub period: String,
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
}

/// What has been written so far; one line of it after each transaction is the process's whole output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Written {
    pub rows: u64,
    pub transactions: u64,
    /// Transactions that had to be tried again, as with any other concurrent writer.
    pub retries: u64,
}

/// One transaction of an application: statements over the old tables. Returns how many rows it wrote.
trait Application {
    fn write(&mut self, connection: &mut Connection, random: &mut Random) -> QueryResult<usize>;
}

/// Writes until standard input ends.
pub fn run(database_url: &str, arguments: &Arguments) -> anyhow::Result<u8> {
    let mut connection = Connection::open(database_url)?;
    let mut application: Box<dyn Application> = match arguments.example {
        Example::VideoHosting => Box::new(video_hosting::Application::new(&arguments.period)),
        Example::CloudCosts => Box::new(cloud_costs::Application::default()),
    };
    let stop = stop_at_end_of_input();
    let mut random = Random::new(arguments.seed);
    let mut written = Written::default();
    let mut stdout = std::io::stdout().lock();
    while !stop.load(Ordering::Relaxed) {
        write_once(&mut connection, application.as_mut(), &mut random, &mut written)?;
        // Whoever started us may be gone: then there is nobody to write for.
        if writeln!(stdout, "{}", serde_json::to_string(&written)?).and_then(|()| stdout.flush()).is_err() {
            break;
        }
        std::thread::sleep(REST);
    }
    Ok(0)
}

fn write_once(
    connection: &mut Connection,
    application: &mut dyn Application,
    random: &mut Random,
    written: &mut Written,
) -> QueryResult<()> {
    let mut attempt = 1;
    loop {
        let before = random.clone();
        match connection.in_transaction(|connection| application.write(connection, random)) {
            Ok(rows) => {
                written.rows += u64::try_from(rows).unwrap_or(0);
                written.transactions += 1;
                return Ok(());
            }
            // The application thought better of it.
            Err(diesel::result::Error::RollbackTransaction) => return Ok(()),
            Err(error) if attempt < ATTEMPTS_MAX && is_retryable(&error) => {
                *random = before;
                written.retries += 1;
                attempt += 1;
                std::thread::sleep(REST.saturating_mul(attempt));
            }
            Err(error) => return Err(error),
        }
    }
}

/// True once standard input has ended: the pipe closes when its other end stops us, and also when that end dies.
fn stop_at_end_of_input() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    std::thread::spawn(move || {
        let mut byte = [0; 1];
        while matches!(std::io::stdin().read(&mut byte), Ok(1)) {}
        flag.store(true, Ordering::Relaxed);
    });
    stop
}
