//! An HTTP/1.1 server on loopback. Each connection has its own task. A shutdown lets open answers finish.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::error::{Error, Result};

/// Time that open answers get to finish after a shutdown begins: longer than any answer of a test takes,
/// shorter than a person waits after Ctrl-C.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Pause after a connection could not be accepted. The usual cause is the limit of open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A server that runs until it is shut down or dropped.
pub(crate) struct Server {
    address: SocketAddr,
    stop: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    /// Answers every connection to `listener` with `service`.
    pub(crate) fn serve<S, B, E>(listener: TcpListener, address: SocketAddr, service: S) -> Server
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = E> + Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let (stop, stopped) = watch::channel(());
        let task = tokio::spawn(accept_until(listener, service, stopped));
        Server { address, stop, task }
    }

    /// The URL of the server, without a path.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops accepting, lets open answers finish within [`SHUTDOWN_GRACE`], and closes every connection.
    pub(crate) async fn shutdown(mut self) {
        let _ = self.stop.send(());
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The connections belong to the task's JoinSet and end with it.
        self.task.abort();
    }
}

/// Listens on a loopback port; 0 means any free port.
pub(crate) fn listen(port: u16, wanted_by: &'static str) -> Result<(TcpListener, SocketAddr)> {
    let bound = || -> std::io::Result<_> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((TcpListener::from_std(listener)?, address))
    };
    bound().map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => Error::PortTaken { port, wanted_by, source },
        _ => Error::Port { port, wanted_by, source },
    })
}

async fn accept_until<S, B, E>(listener: TcpListener, service: S, mut stopped: watch::Receiver<()>)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = E> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    let mut connections = JoinSet::new();
    let stop_told = stopped.clone();
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, service.clone(), stop_told.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection ended in a panic");
                }
            }
        }
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(SHUTDOWN_GRACE, finished).await;
}

async fn serve_connection<S, B, E>(stream: TcpStream, service: S, mut stopped: watch::Receiver<()>)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = E>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Otherwise a small answer waits for the client's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    // Devices in the field look for `Content-Length` in this spelling; see `front_door`.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// A service that never fails, made of an async function.
pub(crate) fn service<F, A, B>(
    answer: F,
) -> impl Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body + 'static,
{
    hyper::service::service_fn(move |request| {
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    })
}
