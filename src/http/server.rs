//! The server around the paths: workers, time limits, and a stop that lets running requests finish.

use std::any::Any;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::web::ServiceConfig;
use actix_web::{App, HttpServer, rt, web};
use socket2::SockRef;
use tokio::signal::unix::{SignalKind, signal};

use super::events::Streams;
use super::metrics::observe;
use super::routes::configure;
use super::slow_clients::cut_off;
use super::state::AppState;
use super::version::keep;

/// How long running requests may take once the server stops.
const STOP_SECONDS_MAX: u64 = 20;
/// How long a client's machine may leave what it is sent unacknowledged.
const UNANSWERED_MAX: Duration = Duration::from_secs(60);

/// Serves until SIGTERM or SIGINT; then running requests finish, and new ones are not taken.
///
/// `more` registers what is built upon these paths: the console.
pub fn serve(listener: TcpListener, state: AppState, more: fn(&mut ServiceConfig)) -> std::io::Result<()> {
    rt::System::new().block_on(async move {
        let streams = Arc::clone(state.streams());
        let head_max = state.limits().slow_client();
        let data = web::Data::new(state);
        let server = HttpServer::new(move || {
            App::new()
                .app_data(data.clone())
                .wrap(from_fn(keep))
                .wrap(from_fn(cut_off))
                .wrap(from_fn(observe))
                .configure(configure)
                .configure(more)
        })
        .on_connect(|connection, _| give_up_early(connection))
        .client_request_timeout(head_max)
        .shutdown_timeout(STOP_SECONDS_MAX)
        .disable_signals()
        .listen(listener)?
        .run();
        rt::spawn(stop_on_signal(server.handle(), streams)?);
        server.await
    })
}

/// Closes a connection whose client has gone without a word: an event stream would keep its place for a quarter of an hour.
fn give_up_early(connection: &dyn Any) {
    let Some(stream) = connection.downcast_ref::<TcpStream>() else { return };
    if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(UNANSWERED_MAX)) {
        tracing::debug!(%error, "a connection has no limit for what it leaves unanswered");
    }
}

/// The signals are watched from here on, so none is missed before the future is polled.
fn stop_on_signal(server: ServerHandle, streams: Arc<Streams>) -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        }
        // Streams have no end of their own that a stop could wait for.
        streams.close();
        server.stop(true).await;
    })
}
