//! The whole service in this process: the local cloud, the functions and the front door.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lambda_http::{Body, Request, Response};
use tidegate_cloud::stream::TableStream;
use tidegate_cloud::{Backend, FrontDoor, LocalCloud, OperatorKey};
use tidegate_core::Timestamp;
use tidegate_engine::control::ACKNOWLEDGED_AFTER;
use tidegate_engine::token::{TokenKeys, TokenKeysError};
use tidegate_engine::{CountService, SweepService, VerifyService};
use tidegate_http::{CheckService, PublishService, ReportService, edge, router};
use tidegate_store::settings::{Settings, SettingsError};
use tidegate_store::stream::Batch;
use tidegate_store::{CatalogKey, CatalogKeyError, DynamoStore, Images, StoreError, schema};
use tidegate_wire::route::Function;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// The table of the local cloud.
pub const TABLE: &str = "tidegate";
/// The bucket of the local cloud.
pub const BUCKET: &str = "tidegate-images";
/// Interval of the sweep, the same as in a deployment.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Interval of looks for images that are to be read. In a deployment it is a minute.
const VERIFY_EVERY: Duration = Duration::from_secs(1);
/// Interval of looks at the stream. In a deployment Lambda collects records for five seconds.
const COUNT_EVERY: Duration = Duration::from_millis(50);

/// Error of a service that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The local DynamoDB or S3 did not start.
    #[error(transparent)]
    Cloud(#[from] tidegate_cloud::Error),
    /// The front door has no port to listen on.
    #[error("cannot listen: {0}")]
    Listen(#[source] io::Error),
    /// The table could not be created.
    #[error(transparent)]
    Table(#[from] StoreError),
    /// The store could not be opened.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The keys of device tokens cannot be read.
    #[error(transparent)]
    TokenKeys(#[from] TokenKeysError),
    /// The key of catalogs cannot be read.
    #[error(transparent)]
    CatalogKey(#[from] CatalogKeyError),
    /// The machine has no randomness.
    #[error("the machine gives no random bytes: {0}")]
    NoRandomness(#[source] getrandom::Error),
    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    NotWritten {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// The functions, over one store.
#[derive(Debug)]
pub struct Services {
    /// The check function.
    pub check: CheckService<DynamoStore>,
    /// The report function.
    pub report: ReportService<DynamoStore>,
    /// The publish function.
    pub publish: PublishService<DynamoStore>,
    /// The count function.
    pub count: CountService<DynamoStore>,
    /// The sweep function.
    pub sweep: SweepService<DynamoStore>,
    /// The verify function.
    pub verify: VerifyService<DynamoStore>,
}

impl Services {
    /// The functions over a store, with a catalog that is at most `catalog_age_ms` old.
    #[must_use]
    pub fn new(store: DynamoStore, images: Images, keys: TokenKeys, catalog_age_ms: i64) -> Self {
        // Where each check-in reads the head itself, a stop has not to wait for old heads.
        let acknowledged_after = if catalog_age_ms == 0 { Duration::ZERO } else { ACKNOWLEDGED_AFTER };
        Self {
            check: CheckService::new(store.clone(), images.clone(), keys.clone(), catalog_age_ms),
            report: ReportService::new(store.clone(), keys.clone()),
            publish: PublishService::new(store.clone(), images.clone(), keys).acknowledging_after(acknowledged_after),
            count: CountService::new(store.clone()),
            sweep: SweepService::new(store.clone()),
            verify: VerifyService::new(store, images),
        }
    }

    /// Counts everything that waits in the stream, at `now`; returns the number of records.
    ///
    /// # Errors
    /// When a batch is refused. It comes again.
    pub async fn count_all(&self, stream: &mut TableStream, now: Timestamp) -> Result<u64, StackError> {
        let mut records = 0_u64;
        while let Some(event) = stream.next().await? {
            let batch = Batch::from_event(event)?;
            self.count.count(&batch, now).await?;
            stream.acknowledge();
            records = records.saturating_add(batch.records.len() as u64);
        }
        Ok(records)
    }
}

/// The routes of the deployed HTTP API.
impl Backend for Services {
    async fn call(&self, request: Request) -> Response<Body> {
        let now = edge::now();
        let function = match router::find(&request) {
            Ok(found) => found.route.function,
            Err(no_route) => match no_route.function() {
                Some(function) => function,
                None => return router::answer_no_route(&request, &no_route),
            },
        };
        match function {
            Function::Check => self.check.handle(request, now).await,
            Function::Report => self.report.handle(request, now).await,
            Function::Publish => self.publish.handle(request, now).await,
        }
    }
}

/// The service, running.
pub struct Stack {
    /// The functions.
    pub services: Arc<Services>,
    /// DynamoDB and S3.
    pub cloud: LocalCloud,
    /// The front door.
    pub door: FrontDoor,
    /// The key for operator routes.
    pub operator_key: OperatorKey,
    sweeper: JoinHandle<()>,
    counter: JoinHandle<()>,
    verifier: JoinHandle<()>,
}

/// The parts of a stack.
pub struct Parts {
    /// DynamoDB and S3.
    pub cloud: LocalCloud,
    /// The socket of the front door.
    pub listener: TcpListener,
    /// The key for operator routes.
    pub operator_key: OperatorKey,
    /// The keys that sign device tokens.
    pub token_keys: TokenKeys,
    /// The key that seals catalogs.
    pub catalog_key: CatalogKey,
    /// The greatest age of a catalog, in milliseconds.
    pub catalog_age_ms: i64,
}

impl Stack {
    /// Everything in memory and temporary folders, on free ports.
    ///
    /// # Errors
    /// A [`StackError`] that names the part that could not be started.
    pub async fn temporary(catalog_age_ms: i64) -> Result<Self, StackError> {
        let cloud = LocalCloud::temporary()?;
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(StackError::Listen)?;
        let token_keys = TokenKeys::parse(&new_token_keys()?)?;
        let catalog_key = CatalogKey::parse(&new_secret()?)?;
        let operator_key = OperatorKey::generate();
        Self::start(Parts { cloud, listener, operator_key, token_keys, catalog_key, catalog_age_ms }).await
    }

    /// Creates the table and the bucket if they are missing, and starts the front door.
    ///
    /// # Errors
    /// A [`StackError`] that names the part that could not be started.
    pub async fn start(parts: Parts) -> Result<Self, StackError> {
        let Parts { cloud, listener, operator_key, token_keys, catalog_key, catalog_age_ms } = parts;
        schema::create_table(&cloud.dynamodb(), TABLE).await?;
        cloud.create_bucket(BUCKET).await?;
        let settings = Settings { table: TABLE.into(), bucket: BUCKET.into() };
        let (store, images) = settings.open(&cloud.sdk_config().await).await?;
        let store = store.with_catalog_key(catalog_key);
        let services = Arc::new(Services::new(store, images, token_keys, catalog_age_ms));
        let door = FrontDoor::serve(listener, operator_key.clone(), services.clone());
        let sweeper = tokio::spawn(sweep_for_ever(services.clone()));
        let verifier = tokio::spawn(verify_for_ever(services.clone()));
        let stream = cloud.table_stream(TABLE)?;
        let counter = tokio::spawn(count_for_ever(services.clone(), stream));
        Ok(Self { services, cloud, door, operator_key, sweeper, counter, verifier })
    }

    /// Stops everything.
    pub async fn shutdown(self) {
        self.sweeper.abort();
        self.counter.abort();
        self.verifier.abort();
        // The stream keeps the database open until the task has ended.
        let _ended = self.counter.await;
        self.door.shutdown().await;
        self.cloud.shutdown().await;
    }
}

async fn sweep_for_ever(services: Arc<Services>) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    loop {
        ticks.tick().await;
        if let Err(error) = services.sweep.sweep(edge::now()).await {
            tracing::error!(%error, "sweep_failed");
        }
    }
}

async fn verify_for_ever(services: Arc<Services>) {
    let mut ticks = tokio::time::interval(VERIFY_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = services.verify.verify_one(edge::now()).await {
            tracing::error!(%error, "verification_failed");
        }
    }
}

async fn count_for_ever(services: Arc<Services>, mut stream: TableStream) {
    let mut ticks = tokio::time::interval(COUNT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = services.count_all(&mut stream, edge::now()).await {
            tracing::error!(%error, "count_failed");
        }
    }
}

/// Fresh secrets for device tokens, as `TIDEGATE_TOKEN_KEYS` holds them.
///
/// # Errors
/// [`StackError::NoRandomness`].
pub fn new_token_keys() -> Result<String, StackError> {
    Ok(format!("local:{}", new_secret()?))
}

/// A fresh secret, as `TIDEGATE_CATALOG_KEY` holds it.
///
/// # Errors
/// [`StackError::NoRandomness`].
pub fn new_secret() -> Result<String, StackError> {
    let mut secret = [0_u8; 32];
    getrandom::fill(&mut secret).map_err(StackError::NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(secret))
}

/// The secrets in `file`. If it does not exist, it is created with `new` ones; only its owner may read it.
///
/// # Errors
/// A [`StackError`] that names the file, or that of `new`.
pub fn load_or_create(file: &Path, new: impl Fn() -> Result<String, StackError>) -> Result<String, StackError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Ok(text) = std::fs::read_to_string(file) {
        return Ok(text.trim().to_string());
    }
    let keys = new()?;
    let created = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    created
        .and_then(|mut created| writeln!(created, "{keys}"))
        .map_err(|source| StackError::NotWritten { path: file.to_owned(), source })?;
    Ok(keys)
}
