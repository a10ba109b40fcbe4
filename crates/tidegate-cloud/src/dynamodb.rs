//! DynamoDB: dynoxide, an in-process implementation over SQLite, served over HTTP on loopback.

use std::net::SocketAddr;
use std::path::Path;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::error::{Error, Result, Source};
use crate::server::SHUTDOWN_GRACE;

/// A DynamoDB that runs until it is shut down or dropped.
pub(crate) struct DynamoDb {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// A database in memory. Dropping it deletes the data.
///
/// It has a name, unlike `Database::memory()`, so that [`prepare_streams`] can reach it.
pub(crate) fn in_memory() -> Result<dynoxide::Database> {
    let name = format!("file:tidegate-{}?mode=memory&cache=shared", uuid::Uuid::new_v4());
    let database = dynoxide::Database::new(&name).map_err(unopened)?;
    prepare_streams(&name)?;
    Ok(database)
}

/// The database in a file.
///
/// "Bulk loading" is dynoxide's name for SQLite without fsync: five times the writes per second. Data survives
/// a crash of this process, but not of the machine. That is a good choice for a development tool only.
pub(crate) fn on_disk(file: &Path) -> Result<dynoxide::Database> {
    let file = file.to_string_lossy();
    let database = dynoxide::Database::new(&file).map_err(unopened)?;
    prepare_streams(&file)?;
    database.enable_bulk_loading().map_err(unopened)?;
    Ok(database)
}

/// Gives the stream records of a database an index, and deletes those that AWS would have deleted.
///
/// Without the index each write of a table with a stream reads every record to find the next number: after 9,000
/// records it took 15 times as long as without a stream. With the index it takes 1.6 times as long, always.
/// AWS keeps a record for 24 hours. Here the hours end with the newest record, not now: a machine that slept
/// for a week loses nothing.
fn prepare_streams(file: &str) -> Result<()> {
    let database = rusqlite::Connection::open(file).map_err(unopened)?;
    let prepared = database.execute_batch(
        "CREATE INDEX IF NOT EXISTS tidegate_stream_order
             ON _stream_records (table_name, CAST(sequence_number AS INTEGER));
         DELETE FROM _stream_records
             WHERE created_at < (SELECT MAX(created_at) FROM _stream_records) - 24 * 60 * 60;",
    );
    prepared.map_err(unopened)
}

impl DynamoDb {
    /// Answers every connection to `listener` from `database`.
    pub(crate) fn serve(listener: TcpListener, address: SocketAddr, database: dynoxide::Database) -> DynamoDb {
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(async move {
            if let Err(error) = dynoxide::server::serve_with_shutdown(listener, database, stopped).await {
                tracing::error!(error, "the local DynamoDB stopped");
            }
        });
        DynamoDb { address, stop: Some(stop), task }
    }

    /// The URL of the server, without a path.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets open requests finish within [`SHUTDOWN_GRACE`] and stops.
    pub(crate) async fn shutdown(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        let _ = tokio::time::timeout(SHUTDOWN_GRACE, &mut self.task).await;
    }
}

impl Drop for DynamoDb {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn unopened(error: impl Into<Source>) -> Error {
    Error::Database { service: "DynamoDB", source: error.into() }
}
