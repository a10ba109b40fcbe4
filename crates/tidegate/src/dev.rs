//! `tidegate dev`: the local cloud, until stopped.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::Args;
use tidegate_cloud::{LocalCloud, OperatorKey, Ports};
use tidegate_engine::token::TokenKeys;
use tidegate_store::CatalogKey;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{CommandError, CommandResult};
use crate::stack::{self, Parts, Stack, StackError};

/// Options of `tidegate dev`.
#[derive(Debug, Clone, Args)]
pub struct DevArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Folder for everything the local cloud keeps
    #[arg(long, default_value = ".tidegate", value_name = "DIR")]
    pub data: PathBuf,
}

/// Error of a local cloud that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// The address is not one of this machine alone.
    #[error("the local cloud listens on loopback only; got {0}")]
    NotLoopback(SocketAddr),
    /// The address is not free.
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        source: io::Error,
    },
    /// DynamoDB or S3 did not start.
    #[error("{0}; the local cloud's ports follow the one of --listen")]
    Ports(#[source] tidegate_cloud::Error),
    /// The folder cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Another `tidegate dev` has the folder.
    #[error("{} is in use by another tidegate", .0.display())]
    InUse(PathBuf),
    /// The program cannot be told to stop.
    #[error(transparent)]
    NoSignals(io::Error),
    /// The service did not start.
    #[error(transparent)]
    Stack(#[from] StackError),
}

impl From<DevError> for CommandError {
    fn from(error: DevError) -> Self {
        Self::failed("cannot_start", error.to_string()).because(error)
    }
}

/// The ports after the front door's are the cloud's own, so that one number is enough to remember.
fn ports(listen: u16) -> Ports {
    match listen {
        0 => Ports::default(),
        port => Ports { dynamodb: port.saturating_add(1), s3: port.saturating_add(2) },
    }
}

/// Runs the local cloud until it is told to stop.
pub async fn run(args: DevArgs) -> CommandResult {
    tidegate_http::log::start_terminal_log();
    let running = start(&args).await?;
    print_welcome(&running.stack, &args.data, &running.lambda_env);
    let mut terminate = signal(SignalKind::terminate()).map_err(DevError::NoSignals)?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    eprintln!("stopping; the data stays in {}", args.data.display());
    running.stack.shutdown().await;
    Ok(())
}

async fn start(args: &DevArgs) -> Result<Running, DevError> {
    let data = &args.data;
    if !args.listen.ip().is_loopback() {
        return Err(DevError::NotLoopback(args.listen));
    }
    let lock = lock_folder(data)?;
    let listener =
        TcpListener::bind(args.listen).await.map_err(|source| DevError::Listen { address: args.listen, source })?;
    let cloud = LocalCloud::open(data, ports(args.listen.port())).map_err(DevError::Ports)?;
    let operator_key = OperatorKey::load_or_create(&data.join("operator.key")).map_err(StackError::Cloud)?;
    let token_keys = stack::load_or_create(&data.join("token.keys"), stack::new_token_keys)?;
    let catalog_key = stack::load_or_create(&data.join("catalog.key"), stack::new_secret)?;
    let lambda_env = write_lambda_env(data, &cloud, &token_keys, &catalog_key)?;
    let catalog_key = CatalogKey::parse(&catalog_key).map_err(StackError::CatalogKey)?;
    let token_keys = TokenKeys::parse(&token_keys).map_err(StackError::TokenKeys)?;
    // A person at a terminal expects that the next command sees the effect of the last one.
    let parts = Parts { cloud, listener, operator_key, token_keys, catalog_key, catalog_age_ms: 0 };
    Ok(Running { stack: Stack::start(parts).await?, lambda_env, _lock: lock })
}

/// The local cloud and what it needs while it runs.
struct Running {
    stack: Stack,
    lambda_env: String,
    _lock: File,
}

/// Creates the folder, which only its owner may read, and keeps others from using it meanwhile.
fn lock_folder(data: &Path) -> Result<File, DevError> {
    let failed = |source| DevError::Folder { path: data.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(failed)?;
    let lock = File::create(data.join("lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(DevError::InUse(data.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// The environment with which `cargo lambda watch` runs the same functions against this cloud.
fn write_lambda_env(
    data: &Path,
    cloud: &LocalCloud,
    token_keys: &str,
    catalog_key: &str,
) -> Result<String, StackError> {
    let file = data.join("lambda.env");
    let ours = [
        ("TIDEGATE_TABLE", stack::TABLE),
        ("TIDEGATE_BUCKET", stack::BUCKET),
        ("TIDEGATE_TOKEN_KEYS", token_keys),
        ("TIDEGATE_CATALOG_KEY", catalog_key),
    ];
    let lines = cloud
        .environment()
        .into_iter()
        .chain(ours.map(|(name, value)| (name, value.to_string())))
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect::<String>();
    // It holds keys. A file of an earlier start keeps its mode, so it is made anew.
    let _ = std::fs::remove_file(&file);
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
    created
        .and_then(|mut created| created.write_all(lines.as_bytes()))
        .map_err(|source| StackError::NotWritten { path: file.clone(), source })?;
    Ok(file.display().to_string())
}

fn print_welcome(stack: &Stack, data: &Path, lambda_env: &str) {
    let (api, key) = (stack.door.url(), stack.operator_key.expose());
    println!(
        "Tidegate is running. Stop it with Ctrl-C; everything stays in {data}.

  API            {api}
  DynamoDB       {dynamodb}
  S3             {s3}
  operator key   {key}   (also in {data}/operator.key)
  cargo-lambda   {lambda_env}

Publish an update and let a device have it, in another terminal:

  export API={api} KEY={key}
  head -c 100000 /dev/urandom > image.bin
  SHA=$(sha256sum image.bin | cut -d' ' -f1)
  curl -sSw '\\n' $API/v1/products/lamp/updates -H \"Authorization: Bearer $KEY\" \\
    -d '{{\"version\":\"1.1.0\",\"files\":[{{\"name\":\"image.bin\",\"sha256\":\"'$SHA'\",\"size\":100000}}]}}' | tee draft.json
  curl -sS -T image.bin \"$(sed 's/.*\"url\":\"\\([^\"]*\\)\".*/\\1/' draft.json)\" \\
    -H \"x-amz-checksum-sha256: $(sed 's/.*\"x-amz-checksum-sha256\":\"\\([^\"]*\\)\".*/\\1/' draft.json)\"
  curl -sSw '\\n' $API/v1/products/lamp/updates/1.1.0/activate -H \"Authorization: Bearer $KEY\" -d '{{\"reason\":\"first try\"}}'
  TOKEN=$(curl -sS -X PUT $API/v1/products/lamp/devices/lamp-1/token -H \"Authorization: Bearer $KEY\" | sed 's/.*\"token\":\"\\([^\"]*\\)\".*/\\1/')
  curl -sSw '\\n' $API/v1/check -H \"Authorization: $TOKEN\" -d '{{\"id\":\"lamp-1\",\"product\":\"lamp\",\"version\":\"1.0.0\"}}' | tee offer.json
  curl -sS -o got.bin \"$(sed 's/.*\"url\":\"\\([^\"]*\\)\",\"checksum.*/\\1/' offer.json)\" && sha256sum got.bin
  curl -sSw '\\n' $API/v1/report -H \"Authorization: $TOKEN\" -d '{{\"id\":\"lamp-1\",\"product\":\"lamp\",\"version\":\"1.1.0\",\"status\":\"INSTALL_SUCCESS\"}}'
  curl -sSw '\\n' $API/v1/products/lamp/updates/1.1.0/metrics -H \"Authorization: Bearer $KEY\"
  curl -sSw '\\n' $API/v1/products/lamp/audit -H \"Authorization: Bearer $KEY\"
",
        data = data.display(),
        dynamodb = stack.cloud.dynamodb_url(),
        s3 = stack.cloud.s3_url(),
    );
}
